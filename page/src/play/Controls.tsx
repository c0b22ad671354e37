import { capital, plural } from "../text";
import { Icon } from "../ui/Icon";
import { Pick, Whole } from "./inputs";
import { COLOURS } from "./paint";
import { SHAPES, type ShapeName } from "./server";
import type { Shown } from "./state";
import * as state from "./state";

export function Data() {
  const { plane, chosen, tool, drawing, problem } = state;
  return (
    <section class="card stack" aria-labelledby="play-data">
      <h2 id="play-data">Data</h2>
      <div class="chips">
        {SHAPES.map((name) => (
          <button
            key={name}
            type="button"
            class="chip"
            aria-pressed={tool.value === "drop" && chosen.value === name}
            onClick={() => choose(name)}
          >
            {capital(name)}
          </button>
        ))}
        <button type="button" class="chip" aria-pressed={tool.value === "draw"} onClick={startDrawing}>
          <Icon name="brush" /> Draw your own
        </button>
      </div>
      {tool.value === "draw" && (
        <div class="row">
          <span class="quiet">
            {drawing.value.length === 0
              ? "Draw on the plane; it is learned when you let go."
              : plural(drawing.value.length, "point")}
          </span>
          <button
            type="button"
            disabled={drawing.value.length === 0}
            onClick={() => {
              drawing.value = [];
            }}
          >
            Clear
          </button>
          <button
            type="button"
            disabled={drawing.value.length === 0 || chosen.value !== null}
            onClick={() => {
              tool.value = "drop";
            }}
          >
            Done
          </button>
        </div>
      )}
      <Whole
        label="Steps of training"
        of={state.training}
        min={1}
        max={state.MOST_TRAINING}
        onChange={learnAgain}
      />
      <div class="learning">
        <p class="quiet" role="status">
          {plane.value === null ? "Asking the server" : standing(plane.value)}
        </p>
        <progress
          max={plane.value?.steps ?? 1}
          value={plane.value?.step ?? 0}
          aria-label="How far the network has learned"
        />
      </div>
      <p class="error" role="alert">
        {problem.value}
      </p>
    </section>
  );
}

function standing({ step, steps, loss }: { step: number; steps: number; loss: number | null }): string {
  const error = loss === null ? "" : `, loss ${loss.toFixed(3)}`;
  return step < steps ? `Learning, step ${step} of ${steps}${error}` : `Learned in ${steps} steps${error}`;
}

function choose(shape: ShapeName): void {
  state.tool.value = "drop";
  void state.learn({ shape });
}

function learnAgain(): void {
  void state.learn(state.again());
}

function startDrawing(): void {
  if (state.chosen.value !== null) state.drawing.value = [];
  state.isWalking.value = false;
  state.tool.value = "draw";
}

export function Field() {
  const { shown, panels, label, strength, plane } = state;
  const isTwo = panels.value === 2;
  return (
    <section class="card stack" aria-labelledby="play-field">
      <h2 id="play-field">Field</h2>
      <Pick<Shown>
        legend="Arrows"
        value={isTwo && shown.value !== "off" ? "both" : shown.value}
        options={[
          ["off", "Off"],
          ["learned", "Learned"],
          ["exact", "Exact"],
          ["both", "Both"],
        ]}
        onPick={(value) => {
          shown.value = value;
          if (value === "learned" || value === "exact") panels.value = 1;
        }}
      />
      <label class="check">
        <input type="checkbox" checked={isTwo} onChange={(event) => setPanels(event.currentTarget.checked)} />
        Two planes side by side
      </label>
      <label class="line">
        Class
        <select
          value={label.value ?? ""}
          onChange={(event) => {
            const { value } = event.currentTarget;
            label.value = value === "" ? null : Number(value);
          }}
        >
          <option value="">any</option>
          {plane.value?.classes.map((name, k) => (
            <option key={name} value={k}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {label.value !== null && (
        <label class="line slide">
          <span>
            Guidance α <output>{strength.value.toFixed(1)}</output>
          </span>
          <input
            type="range"
            min={-2}
            max={8}
            step={0.1}
            value={strength.value}
            onInput={(event) => {
              strength.value = Number(event.currentTarget.value);
            }}
          />
        </label>
      )}
      <Legend />
    </section>
  );
}

const WORDS = { none: "no class", class: "class", guided: "guided", exact: "exact" };

function Legend() {
  return (
    <ul class="legend">
      {state.wanted.value.map((name) => {
        const isPlain = name === "none" && state.label.value === null;
        return (
          <li key={name}>
            <i style={{ background: COLOURS[isPlain ? "learned" : name] }} />{" "}
            {isPlain ? "learned" : WORDS[name]}
          </li>
        );
      })}
    </ul>
  );
}

/** Two planes show two walks; without a second one, the first is repeated along the other field. */
function setPanels(isTwo: boolean): void {
  state.panels.value = isTwo ? 2 : 1;
  if (!isTwo) return;
  const { first, second, shown, forward } = state;
  forward.value = false;
  if (shown.value !== "off") shown.value = "both";
  second.value ??= { ...first.value, exact: !first.value.exact };
}
