import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { lineOf } from "../api";
import { givePicture } from "../draft";
import { PICTURE_NAMES, PICTURES, type PictureName } from "../fields";
import { takes } from "../models";
import { say } from "../toasts";
import { Icon, type IconName } from "../ui/Icon";
import { takeSettings } from "./takeSettings";

/** Give the panel a picture from outside; what cannot be read is said. */
export async function give(name: PictureName, file: Blob, called: string): Promise<void> {
  try {
    await givePicture(name, file, called);
  } catch (error) {
    say(
      error instanceof DOMException ? `${called} is not a picture that this browser reads.` : lineOf(error),
    );
  }
}

const fileOf = (data: DataTransfer | null): File | undefined =>
  [...(data?.files ?? [])].find((file) => /^(image|video)\//.test(file.type) || file.type === "");

/** Where a dragged file may be dropped: they cover the page while one is over it. */
export function DropZones() {
  const isOver = useSignal(false);
  useEffect(() => {
    let depth = 0;
    const set = (more: number, event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      depth = Math.max(0, depth + more);
      isOver.value = depth > 0;
    };
    const enter = (event: DragEvent) => set(1, event);
    const leave = (event: DragEvent) => set(-1, event);
    const over = (event: DragEvent) => set(0, event);
    const drop = (event: DragEvent) => {
      event.preventDefault();
      depth = 0;
      isOver.value = false;
    };
    const paste = (event: ClipboardEvent) => {
      const file = fileOf(event.clipboardData);
      if (!file || !takes("image")) return;
      event.preventDefault();
      void give("image", file, "the pasted picture");
    };
    const all = { dragenter: enter, dragleave: leave, dragover: over, drop } as const;
    for (const [name, listener] of Object.entries(all)) document.addEventListener(name as "drop", listener);
    document.addEventListener("paste", paste);
    return () => {
      for (const [name, listener] of Object.entries(all))
        document.removeEventListener(name as "drop", listener);
      document.removeEventListener("paste", paste);
    };
  }, []);
  if (!isOver.value) return null;
  return (
    <div class="zones">
      <Zone icon="reuse" label="Take its settings" use={(file) => void takeSettings(file, file.name)} />
      {PICTURE_NAMES.filter(takes).map((name) => (
        <Zone
          key={name}
          icon="picture"
          label={PICTURES[name].label}
          use={(file) => void give(name, file, file.name)}
        />
      ))}
    </div>
  );
}

function Zone({ icon, label, use }: { icon: IconName; label: string; use: (file: File) => void }) {
  const isHere = useSignal(false);
  return (
    <div
      class="zone"
      data-here={isHere.value}
      onDragEnter={() => {
        isHere.value = true;
      }}
      onDragLeave={() => {
        isHere.value = false;
      }}
      onDrop={(event) => {
        const file = fileOf(event.dataTransfer);
        if (file) use(file);
      }}
    >
      <Icon name={icon} />
      {label}
    </div>
  );
}
