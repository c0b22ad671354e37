import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { address } from "../route";
import { Icon } from "../ui/Icon";
import { isModal } from "../ui/keys";
import type { Experiment, Schema } from "./api";
import { begin, cancel, errors, isOver, newest } from "./runs";
import { Standing } from "./Standing";
import { bounds, forget, isChanged, isNumber, range, settingsOf, type, typed, wrong } from "./settings";
import { title } from "./text";

/** The settings of an experiment; it runs with them. */
export function Form({ experiment }: { experiment: Experiment }) {
  const isAsking = useSignal(false);
  const run = newest.value[experiment.name];
  const isRunning = run !== undefined && !isOver(run);

  const start = async (event: Event) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const settings = settingsOf(experiment);
    if (settings === null) {
      form.querySelector<HTMLInputElement>("[aria-invalid=true]")?.focus();
      return;
    }
    if (isRunning || isAsking.value) return;
    isAsking.value = true;
    const begun = await begin(experiment.name, settings);
    isAsking.value = false;
    if (begun) location.replace(address("lab", experiment.name, begun.id));
  };

  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      const now = newest.value[experiment.name];
      if (event.key === "Escape" && !isModal() && now && !isOver(now)) void cancel(now);
    };
    document.addEventListener("keydown", keys);
    return () => document.removeEventListener("keydown", keys);
  }, []);

  return (
    <form class="card stack lab-form" noValidate onSubmit={(event) => void start(event)}>
      <div class="lab-form-head">
        <h2>Settings</h2>
        {isChanged(experiment) && (
          <button type="button" class="plain" onClick={() => forget(experiment)}>
            <Icon name="reset" /> Defaults
          </button>
        )}
      </div>
      {Object.entries(experiment.schemas).map(([name, schema]) => (
        <Setting key={name} experiment={experiment} name={name} schema={schema} />
      ))}
      {isRunning ? (
        <button type="button" onClick={() => void cancel(run)}>
          <Icon name="stop" /> Stop
        </button>
      ) : (
        <button type="submit" class="primary" disabled={isAsking.value}>
          <Icon name="play" /> Run
        </button>
      )}
      {run && <Standing run={run} />}
      <p class="error" role="alert">
        {errors.value[experiment.name]}
      </p>
    </form>
  );
}

interface Props {
  experiment: Experiment;
  name: string;
  schema: Schema;
}

function Setting({ experiment, name, schema }: Props) {
  const value = typed(experiment, name);
  const line = wrong(schema, value);
  const id = `setting-${name}`;
  const note = isNumber(schema) ? line || range(schema) : "";
  return (
    <div class="lab-field" data-wrong={line !== ""}>
      <label for={id}>{title(name)}</label>
      <Input {...{ experiment, name, schema, id, value, line }} />
      {note && (
        <p id={`${id}-note`} class={line ? "error" : "quiet"}>
          {note}
        </p>
      )}
    </div>
  );
}

function Input({
  experiment,
  name,
  schema,
  id,
  value,
  line,
}: Props & { id: string; value: string | boolean; line: string }) {
  const put = (event: { currentTarget: { value: string } }) =>
    type(experiment, name, event.currentTarget.value);
  if (schema.enum) {
    return (
      <select id={id} value={String(value)} onChange={put}>
        {schema.enum.map((one) => (
          <option key={one} value={one}>
            {one}
          </option>
        ))}
      </select>
    );
  }
  if (typeof value === "boolean") {
    return (
      <input
        id={id}
        type="checkbox"
        role="switch"
        checked={value}
        onChange={(event) => type(experiment, name, event.currentTarget.checked)}
      />
    );
  }
  if (!isNumber(schema)) return <input id={id} type="text" value={value} onInput={put} />;
  const [min, max] = bounds(schema);
  return (
    <input
      id={id}
      type="number"
      inputMode="decimal"
      min={min}
      max={max}
      step={schema.type === "integer" ? 1 : "any"}
      value={value}
      aria-invalid={line !== ""}
      aria-describedby={`${id}-note`}
      onInput={put}
    />
  );
}
