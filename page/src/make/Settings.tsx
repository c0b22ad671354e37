import { useRef } from "preact/hooks";
import { current, isSet, keepSeed, keepSteps, randomSeed, refused, seed, set, size, values } from "../draft";
import { FIELDS } from "../fields";
import { listed, model, modelName, options, takes } from "../models";
import { capital } from "../text";
import { Icon } from "../ui/Icon";
import { Field, Reset } from "./Field";
import { takeSettings } from "./takeSettings";

/** Model, walk, seed and size: only what the chosen model takes. */
export function Settings() {
  const shown = FIELDS.filter((field) => takes(field.name));
  const more = shown.filter((field) => field.more);
  const moreSet = more.filter((field) => isSet(field.name)).length;
  const file = useRef<HTMLInputElement>(null);
  return (
    <details class="card settings" open={matchMedia("(min-width: 900px)").matches}>
      <summary>
        <h2>Settings</h2>
        <span class="quiet brief">{brief()}</span>
      </summary>
      <div class="stack">
        <ModelChoice />
        <Size />
        {takes("count") && <Count />}
        <Seed />
        <div class="fields">
          {shown
            .filter((field) => !field.more)
            .map((field) => (
              <Field key={field.name} field={field} />
            ))}
        </div>
        {more.length > 0 && (
          <details class="more" open={moreSet > 0}>
            <summary>More{moreSet > 0 && ` (${moreSet} set)`}</summary>
            <div class="fields">
              {more.map((field) => (
                <Field key={field.name} field={field} />
              ))}
            </div>
          </details>
        )}
        <label class="check">
          <input
            type="checkbox"
            checked={keepSteps.value}
            onChange={(event) => {
              keepSteps.value = event.currentTarget.checked;
            }}
          />
          Keep the steps, to see inside at once
        </label>
        <div class="row">
          <button type="button" onClick={() => file.current?.click()}>
            <Icon name="file" /> Settings from a file
          </button>
          <button
            type="button"
            class="plain"
            disabled={Object.keys(values.value).length === 0}
            onClick={() => {
              values.value = {};
            }}
          >
            Reset all
          </button>
          <input
            ref={file}
            class="hidden"
            type="file"
            accept="image/*,video/mp4"
            tabIndex={-1}
            aria-label="A picture whose settings to take"
            data-use="settings"
            onChange={(event) => {
              const [chosen] = event.currentTarget.files ?? [];
              event.currentTarget.value = "";
              if (chosen) void takeSettings(chosen, chosen.name);
            }}
          />
        </div>
      </div>
    </details>
  );
}

function brief(): string {
  if (options.value === null) return "";
  const [width, height] = size.value;
  return `${modelName.value} · ${width} × ${height} · ${String(current("steps") ?? "")} steps`;
}

function ModelChoice() {
  const models = listed.value?.models ?? [];
  return (
    <div class="stack tight">
      <label for="model">Model</label>
      <select
        id="model"
        value={modelName.value}
        onChange={(event) => {
          modelName.value = event.currentTarget.value;
          refused.value = null;
        }}
      >
        {models.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      {model.value?.about && <p class="quiet">{capital(model.value.about)}</p>}
    </div>
  );
}

function Size() {
  if (!takes("width")) return null;
  const multiple = options.value?.size_multiple ?? 8;
  const [width, height] = size.value;
  const wrong = refused.value?.option === "width" || refused.value?.option === "height";
  const input = (name: "width" | "height", value: number) => (
    <input
      id={name}
      type="number"
      inputMode="numeric"
      aria-label={capital(name)}
      min={multiple}
      step={multiple}
      max={4096}
      value={value || ""}
      onChange={(event) =>
        set(name, event.currentTarget.value ? Number(event.currentTarget.value) : undefined)
      }
    />
  );
  return (
    <fieldset class="size" data-wrong={wrong}>
      <legend>Size</legend>
      <div class="row">
        {input("width", width)}
        <button
          type="button"
          class="plain square"
          aria-label="Swap width and height"
          title="Swap width and height"
          onClick={() => {
            set("width", height);
            set("height", width);
          }}
        >
          <Icon name="swap" />
        </button>
        {input("height", height)}
        <Reset name={isSet("width") ? "width" : "height"} label="Size" />
      </div>
    </fieldset>
  );
}

function Count() {
  const count = Number(current("count") ?? 1);
  return (
    <fieldset class="pick">
      <legend>Pictures</legend>
      {[1, 2, 4, 8].map((number) => (
        <label key={number}>
          <input type="radio" name="count" checked={count === number} onChange={() => set("count", number)} />
          <span>{number}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Seed() {
  return (
    <fieldset class="seed">
      <legend>Seed</legend>
      <div class="row">
        <div class="pick">
          {[false, true].map((keep) => (
            <label key={String(keep)}>
              <input
                type="radio"
                name="keep-seed"
                checked={keepSeed.value === keep}
                onChange={() => {
                  keepSeed.value = keep;
                  if (keep && seed.value === "") seed.value = randomSeed();
                }}
              />
              <span>{keep ? "Keep" : "Random"}</span>
            </label>
          ))}
        </div>
        <input
          type="text"
          inputMode="numeric"
          aria-label="Seed"
          pattern="[0-9]*"
          maxLength={20}
          value={seed.value}
          placeholder="any"
          onInput={(event) => {
            seed.value = event.currentTarget.value.replace(/\D/g, "");
            keepSeed.value = seed.value !== "";
          }}
        />
        <button
          type="button"
          class="plain square"
          aria-label="Another seed"
          title="Another seed"
          onClick={() => {
            seed.value = randomSeed();
          }}
        >
          <Icon name="dice" />
        </button>
      </div>
    </fieldset>
  );
}
