import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { getWalk, stepUrl } from "../api";
import { address } from "../route";
import type { Job, Output } from "../types";
import { Icon } from "../ui/Icon";
import { isModal, isPlain, isTyping } from "../ui/keys";
import { Curves } from "./Curves";
import { Difference } from "./Difference";

const PACE = 140; // ms a step

/** The scrubber: noisy state, predicted clean picture, and their difference at each step. */
export function Walk({ job, output }: { job: Job; output: Output }) {
  const last = output.steps - 1;
  const i = useSignal(Math.min(last, Math.round(last / 2)));
  const isPlaying = useSignal(false);
  const levels = useSignal<[number, number][] | null>(null);
  const slider = useRef<HTMLInputElement>(null);
  const ratio = Number(job.request.width) / Number(job.request.height) || 1;
  const url = (what: "noisy" | "clean", step = i.value) => stepUrl(job.id, output.index, step, what);

  const to = (step: number) => {
    i.value = Math.max(0, Math.min(last, step));
  };
  const play = () => {
    if (!isPlaying.value && i.value === last) i.value = 0;
    isPlaying.value = !isPlaying.value;
  };

  useEffect(() => {
    getWalk(job.id, output.index).then(
      (walk) => {
        levels.value = walk.levels;
      },
      () => undefined, // there are no curves then
    );
    const ahead: HTMLImageElement[] = [];
    for (let step = 0; step <= last; step++) {
      for (const what of ["noisy", "clean"] as const) {
        const image = new Image();
        image.src = url(what, step);
        ahead.push(image);
      }
    }
    const keys = (event: KeyboardEvent) => {
      if (isTyping(event) || isModal() || !isPlain(event)) return;
      const isButton =
        event.target instanceof HTMLElement && event.target.closest("button, a, summary, label") !== null;
      if (event.key === "ArrowLeft") to(i.value - 1);
      else if (event.key === "ArrowRight") to(i.value + 1);
      else if (event.key === "Home") to(0);
      else if (event.key === "End") to(last);
      else if (event.key === " " && !isButton) play();
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", keys);
    return () => {
      document.removeEventListener("keydown", keys);
      for (const image of ahead) image.src = "";
    };
  }, []);

  useEffect(() => {
    if (!isPlaying.value) return;
    const timer = setInterval(() => {
      if (i.value >= last) isPlaying.value = false;
      else i.value++;
    }, PACE);
    return () => clearInterval(timer);
  }, [isPlaying.value]);

  const level = levels.value?.[i.value];
  return (
    <div class="walk" style={`--ratio: ${ratio}`}>
      <p class="said">
        {output.prompt || <span class="quiet">without words</span>}{" "}
        <span class="quiet">
          seed {output.seed}
          {job.frames > 1 && " · its first frame"}
        </span>
      </p>
      <div class="panes">
        <Pane title="Noisy state" about="what the walk has reached">
          <img src={url("noisy")} alt={`The noisy state at step ${i.value}`} decoding="sync" />
        </Pane>
        <Pane title="Prediction" about="what the network sees in it">
          <img src={url("clean")} alt={`The prediction at step ${i.value}`} decoding="sync" />
        </Pane>
        <Pane title="Difference" about="what is still noise; grey is none">
          <Difference noisy={url("noisy")} clean={url("clean")} step={i.value} />
        </Pane>
      </div>
      <div class="scrub">
        <button
          type="button"
          class="square"
          onClick={play}
          aria-label={isPlaying.value ? "Pause" : "Play the walk"}
        >
          <Icon name={isPlaying.value ? "pause" : "play"} />
        </button>
        <input
          ref={slider}
          type="range"
          min={0}
          max={last}
          step={1}
          value={i.value}
          aria-label="Step"
          aria-valuetext={`Step ${i.value} of ${last}`}
          onInput={(event) => {
            isPlaying.value = false;
            to(Number(event.currentTarget.value));
          }}
        />
        <output class="step-text">
          {i.value} <span class="quiet">of {last}</span>
        </output>
      </div>
      <fieldset class="strip" aria-label="Predicted pictures of all steps">
        {Array.from({ length: last + 1 }, (_, step) => step).map((step) => (
          <button
            key={step}
            type="button"
            tabIndex={-1}
            aria-label={`Step ${step}`}
            aria-pressed={step === i.value}
            onClick={() => to(step)}
          >
            <img src={url("clean", step)} alt="" loading="lazy" />
          </button>
        ))}
      </fieldset>
      {levels.value && levels.value.length > 1 && (
        <Curves levels={levels.value} at={i.value} onPick={to}>
          {level && (
            <>
              <span class="alpha">signal α {level[0].toFixed(3)}</span>{" "}
              <span class="sigma">noise σ {level[1].toFixed(3)}</span>
            </>
          )}
        </Curves>
      )}
      <div class="row">
        <a class="button" href={address("inside")}>
          Another picture
        </a>
        <a class="button" href={`${output.url}?download=true`} download>
          <Icon name="download" /> Download
        </a>
      </div>
    </div>
  );
}

function Pane({ title, about, children }: { title: string; about: string; children: ComponentChildren }) {
  return (
    <figure class="pane">
      <div class="tile">{children}</div>
      <figcaption>
        <b>{title}</b> <span class="quiet">{about}</span>
      </figcaption>
    </figure>
  );
}
