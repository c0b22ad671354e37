import { capital, plural } from "../text";
import { Whole } from "./inputs";
import type { Way } from "./state";
import * as state from "./state";

export function Walks() {
  const { first, second, forward, isWalking, count, steps, seed, dropped } = state;
  return (
    <section class="card stack" aria-labelledby="play-walks">
      <div class="row between">
        <h2 id="play-walks">Points</h2>
        <label class="check">
          <input
            type="checkbox"
            checked={isWalking.value}
            onChange={(event) => {
              isWalking.value = event.currentTarget.checked;
            }}
          />
          Show
        </label>
      </div>
      <div class="numbers">
        <Whole label="Count" of={count} min={1} max={2000} disabled={dropped.value.length > 0} />
        <Whole label="Steps" of={steps} min={1} max={500} />
        <Whole label="Seed" of={seed} min={0} max={2 ** 31} />
      </div>
      {dropped.value.length > 0 ? (
        <div class="row between">
          <span class="quiet">{plural(dropped.value.length, "point")} that you dropped</span>
          <button
            type="button"
            onClick={() => {
              dropped.value = [];
            }}
          >
            From noise again
          </button>
        </div>
      ) : (
        <p class="quiet">Click the plane to drop points that walk from there.</p>
      )}
      {!forward.value && (
        <>
          <WayForm way={first.value} name="first" onChange={(way) => (first.value = way)} />
          {second.value ? (
            <>
              <WayForm way={second.value} name="second" onChange={(way) => (second.value = way)} />
              <button type="button" onClick={single}>
                Without a second walk
              </button>
            </>
          ) : (
            <button
              type="button"
              onClick={() => {
                second.value = { ...first.value, noise: !first.value.noise };
              }}
            >
              Compare with a second walk
            </button>
          )}
        </>
      )}
      <label class="check">
        <input
          type="checkbox"
          checked={forward.value}
          onChange={(event) => setForward(event.currentTarget.checked)}
        />
        From data to noise instead
      </label>
    </section>
  );
}

function single(): void {
  state.second.value = null;
  state.panels.value = 1;
}

function setForward(isForward: boolean): void {
  if (isForward) single();
  state.forward.value = isForward;
  state.begin(isForward);
}

function WayForm({
  way,
  name,
  onChange,
}: {
  way: Way;
  name: "first" | "second";
  onChange: (way: Way) => void;
}) {
  return (
    <fieldset class="way" data-way={name}>
      <legend>
        <i /> {capital(name)} walk
      </legend>
      <select
        aria-label={`Sampler of the ${name} walk`}
        value={way.sampler}
        onChange={(event) => onChange({ ...way, sampler: event.currentTarget.value })}
      >
        {(state.plane.value?.samplers ?? [way.sampler]).map((sampler) => (
          <option key={sampler}>{sampler}</option>
        ))}
      </select>
      <label class="check">
        <input
          type="checkbox"
          checked={way.noise}
          onChange={(event) => onChange({ ...way, noise: event.currentTarget.checked })}
        />
        Noise
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={way.exact}
          onChange={(event) => onChange({ ...way, exact: event.currentTarget.checked })}
        />
        Exact field
      </label>
    </fieldset>
  );
}
