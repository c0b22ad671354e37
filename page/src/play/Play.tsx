import { useEffect } from "preact/hooks";
import { Icon } from "../ui/Icon";
import { isModal, isPlain, isTyping } from "../ui/keys";
import { Data, Field } from "./Controls";
import { isPlaying, moveTo, t, toggle } from "./clock";
import { Measures } from "./Measures";
import { Plane } from "./Plane";
import { PRESETS, scene, show } from "./presets";
import { START } from "./server";
import * as state from "./state";
import { Walks } from "./Walks";

const NUDGE = 0.01; // of t, for each press of an arrow

/** The plane of the lab: data, the field that is learned from it, and points that walk along it. */
export function Play() {
  useEffect(() => {
    document.addEventListener("keydown", keys);
    const end = state.follow();
    return () => {
      document.removeEventListener("keydown", keys);
      isPlaying.value = false;
      end();
    };
  }, []);
  return (
    <div class="playground">
      <h1 class="hidden">The plane</h1>
      <Scenes />
      <div class="stage-of-plane">
        <Planes />
        <TimeBar />
        <Measures />
      </div>
      <div class="stack controls">
        <Data />
        <Field />
        <Walks />
      </div>
    </div>
  );
}

function Planes() {
  const { wanted, panels, first, second, shown } = state;
  const names = wanted.value;
  if (panels.value === 1 || second.value === null) {
    const drawn = shown.value === "exact" ? names.filter((one) => one === "exact") : names;
    return (
      <div class="planes">
        <Plane title="" names={drawn} which="both" />
      </div>
    );
  }
  return (
    <div class="planes" data-two>
      {([first.value, second.value] as const).map((way, k) => (
        <Plane
          key={way === first.value ? "first" : "second"}
          title={`${way.sampler}, ${way.noise ? "with" : "without"} noise, ${way.exact ? "exact" : "learned"} field`}
          names={names.filter((one) => (one === "exact") === way.exact)}
          which={k === 0 ? 0 : 1}
        />
      ))}
    </div>
  );
}

function Scenes() {
  const at = scene.value;
  const preset = at === null ? null : PRESETS[at];
  return (
    <section class="scenes" aria-label="Scenes">
      <div class="row">
        <button
          type="button"
          class="square"
          aria-label="The scene before"
          disabled={at === null || at === 0}
          onClick={() => show((at ?? 0) - 1)}
        >
          <Icon name="left" />
        </button>
        <button
          type="button"
          class="square"
          aria-label="The next scene"
          disabled={at === PRESETS.length - 1}
          onClick={() => show(at === null ? 0 : at + 1)}
        >
          <Icon name="right" />
        </button>
        <div class="chips">
          {PRESETS.map(({ name }, k) => (
            <button key={name} type="button" class="chip" aria-pressed={at === k} onClick={() => show(k)}>
              {name}
            </button>
          ))}
        </div>
      </div>
      <p class="sentence" role="status">
        {preset?.sentence ?? "Step through the scenes, or choose your own data and let points walk to it."}
      </p>
    </section>
  );
}

function TimeBar() {
  return (
    <div class="scrub">
      <button type="button" class="square" onClick={toggle} aria-label={isPlaying.value ? "Pause" : "Play"}>
        <Icon name={isPlaying.value ? "pause" : "play"} />
      </button>
      <input
        id="time"
        type="range"
        min={0}
        max={START}
        step={0.001}
        value={START - t.value}
        aria-label="Time, from noise to data"
        aria-valuetext={`t = ${t.value.toFixed(2)}`}
        onInput={(event) => moveTo(START - Number(event.currentTarget.value))}
      />
      <output class="step-text">
        <span class="quiet">noise</span> t = {t.value.toFixed(2)}
      </output>
    </div>
  );
}

function keys(event: KeyboardEvent): void {
  if (isTyping(event) || isModal() || !isPlain(event)) return;
  const target = event.target instanceof HTMLElement ? event.target : null;
  const isOwn =
    target?.closest("button, a, summary, [type=checkbox], [type=radio]") !== null && target !== null;
  const isOtherSlider = target?.matches("[type=range]:not(#time)") ?? false;
  const isShown = target?.closest(".scenes [aria-pressed=true]") != null; // a scene that was just clicked pauses
  if (event.key === " " && (!isOwn || isShown)) toggle();
  else if (event.key === "[") show((scene.value ?? 1) - 1);
  else if (event.key === "]") show(scene.value === null ? 0 : scene.value + 1);
  else if (isOtherSlider || target?.matches("[type=radio]")) return;
  else if (event.key === "ArrowLeft") moveTo(t.value + NUDGE);
  else if (event.key === "ArrowRight") moveTo(t.value - NUDGE);
  else if (event.key === "Home") moveTo(START);
  else if (event.key === "End") moveTo(0);
  else return;
  event.preventDefault();
}
