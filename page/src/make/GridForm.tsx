import type { Signal } from "@preact/signals";
import { refused } from "../draft";
import {
  type Axis,
  axisNames,
  choicesOf,
  drawGrid,
  grid,
  isSubmitting,
  labelOf,
  MOST_CELLS,
  valuesOf,
  xAxis,
  yAxis,
} from "../grid";
import { staged } from "../jobs";
import { options } from "../models";
import { plural } from "../text";

/** Asks for the two settings of a grid, and draws it. */
export function GridForm() {
  const cells = valuesOf(xAxis.value).length * valuesOf(yAxis.value).length;
  const isSame = xAxis.value.name === yAxis.value.name && xAxis.value.name !== "";
  const problem = isSame
    ? "Choose two different settings."
    : cells > MOST_CELLS
      ? `At most ${MOST_CELLS} pictures at once.`
      : cells === 0
        ? "Give each setting its values."
        : "";
  const error = refused.value?.option === "grid" ? refused.value.line : "";
  return (
    <details class="card grid-form">
      <summary>
        <h2>Compare</h2>
        <span class="quiet brief">a grid over two settings</span>
      </summary>
      <div class="stack">
        <AxisForm axis={xAxis} label="Across" />
        <AxisForm axis={yAxis} label="Down" />
        <p class={error ? "error" : "quiet"} role={error ? "alert" : undefined}>
          {error || problem || "All pictures start from one seed, unless the seed is a side."}
        </p>
        <div class="row">
          <button
            type="button"
            disabled={problem !== "" || isSubmitting.value || options.value === null}
            onClick={() => void drawGrid()}
          >
            Draw {plural(cells, "picture")}
          </button>
          {grid.value && staged.value?.kind !== "grid" && (
            <button
              type="button"
              class="plain"
              onClick={() => {
                staged.value = { kind: "grid" };
              }}
            >
              Show the last grid
            </button>
          )}
        </div>
      </div>
    </details>
  );
}

function AxisForm({ axis, label }: { axis: Signal<Axis>; label: string }) {
  const choices = choicesOf(axis.value.name);
  const chosen = valuesOf(axis.value);
  const isWords = axis.value.name === "prompts" || axis.value.name === "negative_prompt";
  const toggle = (name: string) => {
    const others = chosen.filter((one) => one !== name);
    const now = others.length < chosen.length ? others : [...chosen, name];
    axis.value = { ...axis.value, text: now.join(", ") };
  };
  return (
    <fieldset class="axis">
      <legend>{label}</legend>
      <select
        aria-label={`${label}: setting`}
        value={axis.value.name}
        onChange={(event) => {
          axis.value = { name: event.currentTarget.value, text: "" };
        }}
      >
        <option value="">nothing</option>
        {axisNames().map((name) => (
          <option key={name} value={name}>
            {labelOf(name)}
          </option>
        ))}
      </select>
      {choices && (
        <div class="chips">
          {choices.map((name) => (
            <button
              key={name}
              type="button"
              class="chip"
              aria-pressed={chosen.includes(name)}
              onClick={() => toggle(name)}
            >
              {name}
            </button>
          ))}
        </div>
      )}
      {!choices && axis.value.name !== "" && (
        <input
          type="text"
          aria-label={`${label}: values`}
          value={axis.value.text}
          placeholder={isWords ? "a red car | a blue car" : "5, 10, 20 or 10-50:10"}
          onInput={(event) => {
            axis.value = { ...axis.value, text: event.currentTarget.value };
          }}
        />
      )}
    </fieldset>
  );
}
