import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { asPicture, mask, maskOpen, type Picture, setMask } from "../draft";
import { Dialog } from "../ui/Dialog";
import { MODIFIER } from "../ui/Help";
import { Icon } from "../ui/Icon";

const LONGEST = 1024; // px of the mask's side; it is fitted to the drawing as the picture is
const MOST_UNDONE = 30;
const PAINT = "#ff3d7f"; // seen on any picture; the mask itself is white

/** Paint where the picture is drawn anew. The mask is white there, and black elsewhere. */
export function MaskEditor({ picture }: { picture: Picture }) {
  const scale = Math.min(1, LONGEST / Math.max(picture.width, picture.height));
  const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
  const canvas = useRef<HTMLCanvasElement>(null);
  const past = useRef<ImageData[]>([]);
  const last = useRef<[number, number] | null>(null);
  const brush = useSignal(15); // of the longer side, percent
  const isErasing = useSignal(false);
  const isPainted = useSignal(mask.value !== null);
  const undoable = useSignal(0);

  const context = () => canvas.current?.getContext("2d", { willReadFrequently: true }) ?? null;

  useEffect(() => {
    const c = context();
    if (c && mask.value) void paintFrom(c, mask.value.url);
    document.addEventListener("keydown", shortcut);
    return () => document.removeEventListener("keydown", shortcut);
  }, []);

  const remember = () => {
    const c = context();
    if (!c) return;
    past.current = [...past.current.slice(1 - MOST_UNDONE), c.getImageData(0, 0, width, height)];
    undoable.value = past.current.length;
  };
  const undo = () => {
    const before = past.current.pop();
    if (before) context()?.putImageData(before, 0, 0);
    undoable.value = past.current.length;
    isPainted.value = hasPaint();
  };
  const clear = () => {
    remember();
    context()?.clearRect(0, 0, width, height);
    isPainted.value = false;
  };
  const invert = () => {
    const c = context();
    if (!c) return;
    remember();
    c.globalCompositeOperation = "xor";
    c.fillStyle = PAINT;
    c.fillRect(0, 0, width, height);
    c.globalCompositeOperation = "source-over";
    isPainted.value = hasPaint();
  };
  const hasPaint = () => {
    const data = context()?.getImageData(0, 0, width, height).data;
    return data?.some((value, k) => k % 4 === 3 && value > 0) ?? false;
  };

  const at = (event: PointerEvent): [number, number] => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box) return [0, 0];
    return [
      ((event.clientX - box.left) / box.width) * width,
      ((event.clientY - box.top) / box.height) * height,
    ];
  };
  const paint = (to: [number, number]) => {
    const c = context();
    if (!c) return;
    const from = last.current ?? to;
    c.globalCompositeOperation = isErasing.value ? "destination-out" : "source-over";
    c.strokeStyle = PAINT;
    c.lineCap = "round";
    c.lineJoin = "round";
    c.lineWidth = Math.max(1, (brush.value / 100) * Math.max(width, height));
    c.beginPath();
    c.moveTo(...from);
    c.lineTo(to[0], to[1] + (from === to ? 0.01 : 0));
    c.stroke();
    c.globalCompositeOperation = "source-over";
    last.current = to;
  };

  const done = async () => {
    const blob = isPainted.value ? await blackAndWhite() : null;
    setMask(blob ? await asPicture(blob, "mask") : null);
    maskOpen.value = false;
  };
  const blackAndWhite = (): Promise<Blob | null> => {
    const flat = document.createElement("canvas");
    [flat.width, flat.height] = [width, height];
    const c = flat.getContext("2d");
    if (!c || !canvas.current) return Promise.resolve(null);
    c.drawImage(canvas.current, 0, 0);
    c.globalCompositeOperation = "source-in";
    c.fillStyle = "#fff";
    c.fillRect(0, 0, width, height);
    c.globalCompositeOperation = "destination-over";
    c.fillStyle = "#000";
    c.fillRect(0, 0, width, height);
    return new Promise((resolve) => flat.toBlob(resolve, "image/png"));
  };

  function shortcut(event: KeyboardEvent): void {
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && key === "z") undo();
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (key === "[") brush.value = Math.max(1, brush.value - 2);
    else if (key === "]") brush.value = Math.min(60, brush.value + 2);
    else if (key === "e") isErasing.value = !isErasing.value;
    else if (key === "i") invert();
    else return;
    event.preventDefault();
  }

  return (
    <Dialog
      title="Paint what is drawn anew"
      kind="wide"
      onClose={() => {
        maskOpen.value = false;
      }}
    >
      <div class="mask-tools">
        <label class="row">
          Brush
          <input
            type="range"
            min={1}
            max={60}
            value={brush.value}
            onInput={(event) => {
              brush.value = Number(event.currentTarget.value);
            }}
          />
        </label>
        <fieldset class="pick">
          <legend class="hidden">Tool</legend>
          {[false, true].map((erasing) => (
            <label key={String(erasing)}>
              <input
                type="radio"
                name="tool"
                checked={isErasing.value === erasing}
                onChange={() => {
                  isErasing.value = erasing;
                }}
              />
              <span>{erasing ? "Erase" : "Paint"}</span>
            </label>
          ))}
        </fieldset>
        <button type="button" onClick={undo} disabled={undoable.value === 0} title={`${MODIFIER} Z`}>
          <Icon name="undo" /> Undo
        </button>
        <button type="button" onClick={invert} title="I">
          Invert
        </button>
        <button type="button" onClick={clear}>
          Clear
        </button>
      </div>
      <div class="mask-sheet" style={`--ratio: ${width / height}`}>
        <img src={picture.url} alt={picture.name} draggable={false} />
        <canvas
          ref={canvas}
          width={width}
          height={height}
          aria-label="The mask: paint with a pointer, or invert it to repaint everything"
          role="img"
          onPointerDown={(event) => {
            event.preventDefault();
            event.currentTarget.setPointerCapture(event.pointerId);
            remember();
            last.current = null;
            paint(at(event));
          }}
          onPointerMove={(event) => {
            if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
            for (const one of event.getCoalescedEvents?.() ?? [event]) paint(at(one));
          }}
          onPointerUp={() => {
            last.current = null;
            isPainted.value = hasPaint();
          }}
        />
      </div>
      <div class="row end">
        <button
          type="button"
          class="plain"
          onClick={() => {
            maskOpen.value = false;
          }}
        >
          Leave as it was
        </button>
        <button type="button" class="primary" onClick={done}>
          {isPainted.value ? "Use this mask" : "Use no mask"}
        </button>
      </div>
    </Dialog>
  );
}

/** Take a mask back up: its white becomes paint, its black none. */
async function paintFrom(context: CanvasRenderingContext2D, url: string): Promise<void> {
  const image = new Image();
  image.src = url;
  await image.decode();
  const { width, height } = context.canvas;
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  for (let k = 0; k < pixels.data.length; k += 4) {
    const white = pixels.data[k] ?? 0;
    pixels.data.set([255, 61, 127, white], k);
  }
  context.putImageData(pixels, 0, 0);
}
