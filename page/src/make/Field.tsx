import { current, isSet, refused, set } from "../draft";
import type { Field as AnyField, ChoiceField, NumberField, TextField } from "../fields";
import { defaultOf, listed } from "../models";
import { Icon } from "../ui/Icon";

/** One option, with a way back to the model's own value. */
export function Field({ field }: { field: AnyField }) {
  const error = refused.value?.option === field.name ? refused.value.line : "";
  const id = `option-${field.name}`;
  return (
    <div class={`field ${field.kind}`} data-wrong={error !== ""}>
      <label for={id} title={field.help}>
        {field.label}
      </label>
      <Reset name={field.name} label={field.label} />
      {field.kind === "number" && <NumberInput field={field} id={id} />}
      {field.kind === "choice" && <Choice field={field} id={id} />}
      {field.kind === "text" && <TextInput field={field} id={id} />}
      {field.kind === "switch" && (
        <input
          id={id}
          type="checkbox"
          role="switch"
          checked={current(field.name) === true}
          onChange={(event) => set(field.name, event.currentTarget.checked)}
        />
      )}
      {error && <p class="error">{error}</p>}
    </div>
  );
}

export function Reset({ name, label }: { name: string; label: string }) {
  if (!isSet(name)) return <span class="reset" />;
  return (
    <button
      type="button"
      class="reset plain"
      title="The model's own value"
      aria-label={`${label}: the model's own value`}
      onClick={() => set(name, undefined)}
    >
      <Icon name="reset" />
    </button>
  );
}

function NumberInput({ field, id }: { field: NumberField; id: string }) {
  const value = current(field.name);
  const number = typeof value === "number" ? value : "";
  const change = (text: string) => set(field.name, text.trim() === "" ? undefined : Number(text));
  return (
    <>
      <input
        id={id}
        type="number"
        inputMode="decimal"
        min={field.min}
        max={field.max}
        step="any"
        value={number}
        placeholder="own"
        onChange={(event) => change(event.currentTarget.value)}
      />
      <input
        type="range"
        tabIndex={-1}
        aria-hidden="true"
        min={field.min}
        max={field.slide ?? field.max}
        step={field.step}
        value={number === "" ? field.min : number}
        onInput={(event) => change(event.currentTarget.value)}
      />
    </>
  );
}

export function choices(field: ChoiceField): readonly string[] {
  if (field.choices === "samplers") return listed.value?.samplers ?? [];
  if (field.choices === "schedules") return listed.value?.schedules ?? [];
  return field.choices;
}

function Choice({ field, id }: { field: ChoiceField; id: string }) {
  const own = defaultOf(field.name);
  const known = choices(field);
  const value = isSet(field.name) ? String(current(field.name)) : "";
  return (
    <select id={id} value={value} onChange={(event) => set(field.name, event.currentTarget.value)}>
      <option value="">{field.own ?? (own ? `own: ${own}` : "the model's own")}</option>
      {known.map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}

function TextInput({ field, id }: { field: TextField; id: string }) {
  const value = current(field.name);
  return (
    <input
      id={id}
      type="text"
      value={Array.isArray(value) ? value.join(",") : String(value ?? "")}
      placeholder={field.example}
      onChange={(event) => set(field.name, event.currentTarget.value.trim())}
    />
  );
}
