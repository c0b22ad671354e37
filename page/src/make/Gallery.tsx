import { useSignalEffect } from "@preact/signals";
import { createRef } from "preact";
import { useEffect, useRef } from "preact/hooks";
import {
  gallery,
  galleryError,
  hasMore,
  isLoading,
  known,
  loadGallery,
  loadMore,
  search,
  show,
} from "../jobs";
import { isOver, type Job, type Output } from "../types";
import { Icon } from "../ui/Icon";
import { Media } from "../ui/Media";
import { Detail, opened } from "./Detail";
import { standing } from "./Progress";

const PAUSE = 250; // ms without a key, before the search

export const searchBox = createRef<HTMLInputElement>();

export interface Item {
  key: string;
  job: Job;
  output: Output | null; // null for a job that has none yet, or never
}

/** Every output in the gallery, and the jobs without one. */
export function items(): Item[] {
  const jobs = (gallery.value ?? []).map((id) => known.value.get(id)).filter((job) => job !== undefined);
  return jobs.flatMap((job): Item[] => {
    const made = [...job.outputs].sort((a, b) => a.index - b.index);
    const outputs = made.map((output) => ({ key: `${job.id}/${output.index}`, job, output }));
    return outputs.length > 0 ? outputs : [{ key: `${job.id}/-`, job, output: null }];
  });
}

/** All jobs of the server, the newest first. */
export function Gallery() {
  const isFirst = useRef(true);
  useSignalEffect(() => {
    const words = search.value;
    if (isFirst.current) {
      isFirst.current = false;
      if (words === "") return;
    }
    const timer = setTimeout(() => void loadGallery(), PAUSE);
    return () => clearTimeout(timer);
  });
  const shown = items();
  return (
    <section class="gallery" aria-label="Gallery">
      <div class="gallery-head">
        <h2>Gallery</h2>
        <div class="search">
          <Icon name="search" />
          <input
            ref={searchBox}
            type="search"
            placeholder="Search the prompts"
            aria-label="Search the prompts"
            value={search.value}
            onInput={(event) => {
              search.value = event.currentTarget.value;
            }}
            onKeyDown={(event) => {
              if (event.key === "Escape") event.currentTarget.blur();
            }}
          />
        </div>
      </div>
      {galleryError.value && (
        <p class="error" role="alert">
          {galleryError.value}
        </p>
      )}
      {gallery.value !== null && shown.length === 0 && (
        <p class="quiet none">
          {search.value
            ? `No prompt contains “${search.value}”.`
            : "What you draw is kept here, with every setting."}
        </p>
      )}
      <ul class="tiles">
        {shown.map((item) => (
          <Tile key={item.key} item={item} />
        ))}
      </ul>
      <More />
      {opened.value !== null && <Detail items={shown} />}
    </section>
  );
}

function Tile({ item: { job, output } }: { item: Item }) {
  const words = output?.prompt ?? (job.request.prompts as string[] | undefined)?.[0] ?? "";
  const caption = words || "without words";
  return (
    <li>
      <button
        type="button"
        class="tile"
        data-state={output ? "done" : isOver(job) ? "none" : "waiting"}
        aria-label={output ? `${caption}, seed ${output.seed}` : `${caption}: ${standing(job)}`}
        onClick={() => {
          if (output || isOver(job)) opened.value = `${job.id}/${output?.index ?? "-"}`;
          else show(job.id);
        }}
      >
        {output ? <Media output={output} small /> : <span class="standing">{standing(job)}</span>}
        {job.frames > 1 && (
          <span class="badge">
            <Icon name="play" />
          </span>
        )}
      </button>
      <span class="caption" aria-hidden="true">
        {caption}
      </span>
    </li>
  );
}

function More() {
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) void loadMore();
      },
      { rootMargin: "600px" },
    );
    if (end.current) observer.observe(end.current);
    return () => observer.disconnect();
  }, [gallery.value?.length]);
  return (
    <div ref={end} class="more-jobs">
      {hasMore.value && (
        <button type="button" class="plain" disabled={isLoading.value} onClick={() => void loadMore()}>
          Older pictures
        </button>
      )}
    </div>
  );
}
