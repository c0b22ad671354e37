import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { labelOf } from "../grid";
import { forget, known } from "../jobs";
import { ago, capital } from "../text";
import type { Job, Output } from "../types";
import { Dialog } from "../ui/Dialog";
import { Icon } from "../ui/Icon";
import { Media } from "../ui/Media";
import { canStart, lookInside, startFrom, takeFrom, vary } from "./actions";
import type { Item } from "./Gallery";
import { standing } from "./Progress";

/** The item that is opened, as JOB/OUTPUT. */
export const opened = signal<string | null>(null);

const FIRST = ["model", "steps", "cfg_scale", "sampler", "schedule", "strength"];
const APART = new Set([
  "width",
  "height",
  "prompts",
  "negative_prompt",
  "seed",
  "count",
  "image",
  "last_image",
  "mask",
  "image_prompt",
]);

/** An output with all its settings, and what one can do with it. */
export function Detail({ items }: { items: readonly Item[] }) {
  const place = items.findIndex((item) => item.key === opened.value);
  const item = items[place] ?? elsewhere(opened.value);
  const close = () => {
    opened.value = null;
  };
  const move = (by: number) => {
    const other = place < 0 ? undefined : items[place + by];
    if (other) opened.value = other.key;
  };
  useEffect(() => {
    const arrows = (event: KeyboardEvent) => {
      if (event.key === "ArrowLeft") move(-1);
      else if (event.key === "ArrowRight") move(1);
    };
    document.addEventListener("keydown", arrows);
    return () => document.removeEventListener("keydown", arrows);
  });
  useEffect(() => {
    if (item === null) close();
  });
  if (item === null) return null;
  const { job, output } = item;
  const then = (act: () => void) => () => {
    close();
    act();
  };
  return (
    <Dialog title={output ? "Picture" : "Job"} kind="detail" onClose={close}>
      <div class="detail-body">
        <div class="detail-picture">
          {output ? <Media output={output} /> : <p class="quiet">{standing(job)}</p>}
          <button
            type="button"
            class="plain square back"
            aria-label="The one before"
            disabled={place <= 0}
            onClick={() => move(-1)}
          >
            <Icon name="left" />
          </button>
          <button
            type="button"
            class="plain square on"
            aria-label="The next one"
            disabled={place < 0 || place + 1 >= items.length}
            onClick={() => move(1)}
          >
            <Icon name="right" />
          </button>
        </div>
        <div class="detail-text">
          <Words job={job} output={output} />
          <div class="row actions">
            <button type="button" class="primary" onClick={then(() => void takeFrom(job, output))}>
              <Icon name="reuse" /> Use these settings
            </button>
            <button type="button" onClick={then(() => void vary(job, output))}>
              <Icon name="dice" /> Vary the seed
            </button>
            {output && (
              <>
                <button type="button" onClick={then(() => lookInside(job, output))}>
                  <Icon name="inside" /> See inside
                </button>
                {canStart(output) && (
                  <button type="button" onClick={then(() => void startFrom(output))}>
                    <Icon name="picture" /> Start from it
                  </button>
                )}
                <a class="button" href={`${output.url}?download=true`} download>
                  <Icon name="download" /> Download
                </a>
              </>
            )}
            <button type="button" class="danger" onClick={then(() => void forget(job.id))}>
              <Icon name="trash" /> {job.total > 1 ? `Delete all ${job.total}` : "Delete"}
            </button>
          </div>
          {job.notes.length > 0 && <p class="notes">{job.notes.join(" · ")}</p>}
          <SettingsTable job={job} output={output} />
        </div>
      </div>
    </Dialog>
  );
}

/** An item that the gallery does not list, such as a cell of an older grid. */
function elsewhere(key: string | null): Item | null {
  const [id = "", index] = key?.split("/") ?? [];
  const job = known.value.get(id);
  if (!job || key === null) return null;
  return { key, job, output: job.outputs.find((one) => String(one.index) === index) ?? null };
}

function Words({ job, output }: { job: Job; output: Output | null }) {
  const prompts = job.request.prompts as string[] | undefined;
  const negative = String(job.request.negative_prompt ?? "");
  return (
    <div class="said">
      <p>{output?.prompt || prompts?.[0] || <span class="quiet">without words</span>}</p>
      {negative && (
        <p class="quiet">
          not: <span>{negative}</span>
        </p>
      )}
      <p class="quiet">
        {ago(job.created)} · {standing(job)}
      </p>
    </div>
  );
}

function SettingsTable({ job, output }: { job: Job; output: Output | null }) {
  const rows = Object.entries(job.request)
    .filter(([name, value]) => !APART.has(name) && !FIRST.includes(name) && isWorthSaying(value))
    .map(([name, value]) => [name, said(value)] as const);
  const first = FIRST.filter((name) => job.request[name] !== null && job.request[name] !== undefined);
  const given = ["image", "last_image", "mask", "image_prompt"].filter((name) => job.request[name]);
  return (
    <>
      <dl class="settings-list">
        {output && <Row name="seed" value={output.seed} />}
        <Row name="size" value={`${job.request.width} × ${job.request.height}`} />
        {first.map((name) => (
          <Row key={name} name={name} value={said(job.request[name])} />
        ))}
        {given.map((name) => (
          <Row key={name} name={name} value="given" />
        ))}
      </dl>
      <details class="more">
        <summary>Every setting</summary>
        <dl class="settings-list">
          {rows.map(([name, value]) => (
            <Row key={name} name={name} value={value} />
          ))}
          <Row name="job" value={job.id} />
        </dl>
      </details>
    </>
  );
}

function Row({ name, value }: { name: string; value: string }) {
  const label = labelOf(name);
  return (
    <div>
      <dt>{label === name ? capital(name.replaceAll("_", " ")) : label}</dt>
      <dd>{value}</dd>
    </div>
  );
}

const isWorthSaying = (value: unknown): boolean =>
  value !== null && value !== "" && !(Array.isArray(value) && value.length === 0);
const said = (value: unknown): string =>
  typeof value === "boolean"
    ? value
      ? "yes"
      : "no"
    : Array.isArray(value)
      ? value.join(", ")
      : String(value);
