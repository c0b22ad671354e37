import { useEffect } from "preact/hooks";
import { refused } from "../draft";
import { known, live, staged, stop } from "../jobs";
import { isOver } from "../types";
import { isModal, isPlain, isTyping } from "../ui/keys";
import { DropZones } from "./DropZones";
import { draw } from "./draw";
import { Gallery, searchBox } from "./Gallery";
import { GridForm } from "./GridForm";
import { Pictures } from "./Pictures";
import { Prompt, promptBox } from "./Prompt";
import { Settings } from "./Settings";
import { Stage } from "./Stage";

/** Words to pictures: the panel, what is being drawn, and the gallery. */
export function Make() {
  useEffect(() => {
    document.addEventListener("keydown", shortcut);
    return () => document.removeEventListener("keydown", shortcut);
  }, []);
  return (
    <div class="make">
      <h1 class="hidden">Make a picture</h1>
      <div class="panel">
        <Prompt />
        <div class="options">
          <Settings />
          <Pictures />
          <GridForm />
        </div>
      </div>
      <div class="work">
        <Stage />
        <Gallery />
      </div>
      <DropZones />
    </div>
  );
}

function shortcut(event: KeyboardEvent): void {
  if (isModal()) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    void draw();
  } else if (event.key === "Escape") {
    stopDrawing();
  } else if (!isTyping(event) && isPlain(event)) {
    const box = event.key === "/" ? searchBox : event.key === "p" ? promptBox : null;
    if (!box) return;
    event.preventDefault();
    box.current?.focus();
  }
}

function stopDrawing(): void {
  const id = staged.value?.kind === "job" ? staged.value.id : live.value?.job;
  const job = id === undefined ? undefined : known.value.get(id);
  refused.value = null;
  if (job && !isOver(job)) void stop(job.id);
}
