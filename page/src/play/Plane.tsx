import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { isDark } from "../ui/theme";
import { t } from "./clock";
import { frames } from "./frames";
import { paint, paintGround, type Scene, toPlane } from "./paint";
import type { FieldName, Point } from "./server";
import * as state from "./state";

const MOST = 2000; // points that the server takes
const APART = 0.04; // of the plane, between two points of a stroke

interface Props {
  title: string;
  names: readonly FieldName[];
  which: "both" | 0 | 1; // walks
}

/** The canvas: data, arrows and points; one draws data on it, or drops points that walk. */
export function Plane({ title, names, which }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const ground = useRef(document.createElement("canvas"));
  const next = useRef({ frame: 0, isStale: true });
  const props = useRef({ names, which });
  props.current = { names, which };

  const draw = (now: number) => {
    next.current.frame = 0;
    const context = canvas.current?.getContext("2d", { alpha: false });
    if (!context) return;
    const scene = sceneOf(props.current);
    if (next.current.isStale) {
      ground.current.width = ground.current.height = context.canvas.width;
      paintGround(ground.current, scene);
      next.current.isStale = false;
    }
    paint(context, ground.current, scene);
    frames(context.canvas, now);
  };
  const ask = (isStale = false) => {
    next.current.isStale ||= isStale;
    next.current.frame ||= requestAnimationFrame(draw);
  };

  useSignalEffect(() => {
    t.value;
    state.fields.value;
    state.walks.value;
    ask();
  });
  useSignalEffect(() => {
    state.plane.value?.id;
    state.drawing.value;
    state.label.value;
    ask(true);
  });
  useEffect(() => ask(), [names.join(), which]);
  useEffect(() => {
    const one = canvas.current;
    if (!one) return;
    const fit = new ResizeObserver(([entry]) => {
      const size = Math.round((entry?.contentRect.width ?? 0) * Math.min(2, devicePixelRatio));
      if (size > 0 && size !== one.width) one.width = one.height = size;
      next.current.isStale = true;
      cancelAnimationFrame(next.current.frame);
      draw(performance.now()); // at once: a new size has emptied the canvas
    });
    fit.observe(one);
    const recolour = () => ask(true);
    const themes = new MutationObserver(recolour);
    themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", recolour);
    return () => {
      fit.disconnect();
      themes.disconnect();
      system.removeEventListener("change", recolour);
      cancelAnimationFrame(next.current.frame);
    };
  }, []);

  return (
    <figure class="plane" data-tool={state.tool.value}>
      <canvas
        ref={canvas}
        width="600"
        height="600"
        role="img"
        aria-label={`The plane with its data, arrows and points${title && `: ${title}`}`}
        onClick={(event) => {
          if (state.tool.value === "drop") state.drop(pointOf(event)); // not on press, which may begin to scroll
        }}
        onPointerDown={press}
        onPointerMove={drag}
        onPointerUp={release}
        onPointerCancel={release}
      />
      <figcaption class="quiet">{title}</figcaption>
    </figure>
  );
}

function sceneOf({ names, which }: { names: readonly FieldName[]; which: Props["which"] }): Scene {
  return {
    plane: state.tool.peek() === "draw" && state.drawing.peek().length > 0 ? null : state.plane.peek(),
    fields: state.fields.peek(),
    names,
    label: state.label.peek(),
    walks: state.walks.peek().map((one, k) => (which === "both" || which === k ? one : null)),
    drawing: state.tool.peek() === "draw" ? state.drawing.peek() : [],
    t: t.peek(),
    isDark: isDark(),
  };
}

function pointOf(event: MouseEvent & { currentTarget: HTMLCanvasElement }): Point {
  const box = event.currentTarget.getBoundingClientRect();
  const x = toPlane((event.clientX - box.x) / box.width);
  const y = -toPlane((event.clientY - box.y) / box.height);
  return [x, y];
}

function press(event: PointerEvent & { currentTarget: HTMLCanvasElement }): void {
  if (event.button !== 0 || state.tool.value !== "draw") return;
  event.currentTarget.setPointerCapture(event.pointerId);
  add(pointOf(event));
}

function drag(event: PointerEvent & { currentTarget: HTMLCanvasElement }): void {
  if (state.tool.value !== "draw" || !event.currentTarget.hasPointerCapture(event.pointerId)) return;
  const at = pointOf(event);
  const last = state.drawing.value.at(-1) ?? at;
  const pieces = Math.floor(Math.hypot(at[0] - last[0], at[1] - last[1]) / APART);
  for (let k = 1; k <= pieces; k++) {
    add([last[0] + ((at[0] - last[0]) * k) / pieces, last[1] + ((at[1] - last[1]) * k) / pieces]);
  }
}

function add(point: Point): void {
  if (state.drawing.value.length < MOST) state.drawing.value = [...state.drawing.value, point];
}

function release(event: PointerEvent & { currentTarget: HTMLCanvasElement }): void {
  if (state.tool.value !== "draw" || !event.currentTarget.hasPointerCapture(event.pointerId)) return;
  event.currentTarget.releasePointerCapture(event.pointerId);
  if (state.drawing.value.length > 1) void state.learn({ points: state.drawing.value });
}
