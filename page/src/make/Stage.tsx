import { useSignalEffect } from "@preact/signals";
import { aspect, prompt } from "../draft";
import { gallery, known, live, show, staged, stop } from "../jobs";
import { model } from "../models";
import { isOver, type Job } from "../types";
import { Icon } from "../ui/Icon";
import { Media } from "../ui/Media";
import { canStart, lookInside, startFrom, takeFrom, vary } from "./actions";
import { opened } from "./Detail";
import { draw } from "./draw";
import { GridTable } from "./GridTable";
import { Progress, standing } from "./Progress";
import { suggestions } from "./suggestions";

/** What is being drawn, or was drawn last. */
export function Stage() {
  useSignalEffect(() => {
    const newest = gallery.value?.[0];
    if (staged.peek() === null && newest !== undefined) show(newest);
  });
  const shown = staged.value;
  const job = shown?.kind === "job" ? known.value.get(shown.id) : undefined;
  return (
    <section class="stage" aria-label="Drawing">
      {shown?.kind === "grid" ? <GridTable /> : job ? <JobView job={job} /> : <Empty />}
    </section>
  );
}

function Empty() {
  const isFirst = gallery.value?.length === 0;
  return (
    <div class="sheet empty" style={`--ratio: ${aspect.value}`}>
      {isFirst && (
        <>
          <p>Say what to draw, and watch it come out of noise.</p>
          <div class="chips">
            {suggestions(model.value).map((words) => (
              <button
                key={words}
                type="button"
                class="chip"
                onClick={() => {
                  prompt.value = words;
                  void draw();
                }}
              >
                {words}
              </button>
            ))}
          </div>
        </>
      )}
    </div>
  );
}

function JobView({ job }: { job: Job }) {
  const [width, height] = [Number(job.request.width) || 1, Number(job.request.height) || 1];
  const columns = Math.max(1, Math.min(job.total, Math.ceil(Math.sqrt(job.total * (height / width)))));
  const style = `--ratio: ${width / height}; --columns: ${columns}; --rows: ${Math.ceil(job.total / columns)}`;
  const tiles = Array.from({ length: job.total }, (_, k) => k);
  const [first] = job.outputs;
  return (
    <>
      <div class="sheet" style={style}>
        {tiles.map((k) => (
          <Tile key={k} job={job} index={k} />
        ))}
      </div>
      <div class="under">
        <Progress job={job} />
        <p class="status" aria-live={job.state === "running" ? "off" : "polite"} data-state={job.state}>
          {standing(job)}
        </p>
        <div class="row actions">
          {!isOver(job) && (
            <button type="button" onClick={() => void stop(job.id)}>
              <Icon name="stop" /> Stop <kbd>Esc</kbd>
            </button>
          )}
          {isOver(job) && (
            <button type="button" onClick={() => void vary(job, first ?? null)}>
              <Icon name="dice" /> Vary
            </button>
          )}
          {isOver(job) && first && job.total === 1 && (
            <>
              {canStart(first) && (
                <button type="button" onClick={() => void startFrom(first)}>
                  <Icon name="picture" /> Start from it
                </button>
              )}
              <button type="button" onClick={() => lookInside(job, first)}>
                <Icon name="inside" /> See inside
              </button>
              <a class="button" href={`${first.url}?download=true`} download>
                <Icon name="download" /> Download
              </a>
            </>
          )}
          {isOver(job) && job.state !== "done" && (
            <button type="button" onClick={() => void takeFrom(job, null)}>
              <Icon name="reuse" /> Use its settings
            </button>
          )}
        </div>
        <p class="notes" title={job.notes.join("\n")}>
          {job.notes.join(" · ")}
        </p>
      </div>
    </>
  );
}

function Tile({ job, index }: { job: Job; index: number }) {
  const output = job.outputs.find((one) => one.index === index);
  const preview = live.value?.job === job.id ? live.value.previews[index] : undefined;
  if (output?.media.startsWith("video/")) {
    return (
      <div class="tile">
        <Media output={output} />
      </div>
    );
  }
  const source = output?.url ?? preview;
  const isStill = isOver(job) && !output;
  return (
    <button
      type="button"
      class="tile"
      data-state={output ? "done" : preview ? "forming" : isStill ? "none" : "waiting"}
      disabled={!output}
      aria-label={output ? `Open: ${output.prompt || "without words"}` : "Being drawn"}
      onClick={() => {
        opened.value = `${job.id}/${index}`;
      }}
    >
      {source && (
        <img
          src={source}
          alt={output ? output.prompt || "without words" : "The picture forming"}
          decoding="sync"
        />
      )}
    </button>
  );
}
