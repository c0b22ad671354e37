import { useEffect } from "preact/hooks";
import { lineOf } from "../api";
import { type Grid, grid, gridPicture, labelOf, stopGrid } from "../grid";
import { find, known } from "../jobs";
import { say } from "../toasts";
import { isOver, type Job } from "../types";
import { Icon } from "../ui/Icon";
import { Media } from "../ui/Media";
import { isDark } from "../ui/theme";
import { opened } from "./Detail";

/** A grid: a row and a column for each value. */
export function GridTable() {
  const shown = grid.value;
  useEffect(() => {
    for (const id of grid.value?.cells.flat() ?? []) {
      find(id).catch(() => undefined); // a job that was deleted leaves its cell empty
    }
  }, []);
  if (!shown) return null;
  const jobs = shown.cells.flat().map((id) => known.value.get(id));
  const done = jobs.filter((job) => job && isOver(job)).length;
  const total = shown.x.values.length * shown.y.values.length;
  return (
    <>
      <section class="scroll" aria-label="Grid">
        <table class="grid">
          {shown.x.name && (
            <thead>
              <tr>
                <td />
                {shown.x.values.map((value) => (
                  <th key={value} scope="col">
                    <Label name={shown.x.name} value={value} />
                  </th>
                ))}
              </tr>
            </thead>
          )}
          <tbody>
            {shown.y.values.map((value, row) => (
              <tr key={value}>
                <th scope="row">
                  <Label name={shown.y.name} value={value} />
                </th>
                {shown.x.values.map((other, column) => (
                  <td key={other}>
                    <Cell job={known.value.get(shown.cells[row]?.[column] ?? "")} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <div class="under">
        <div
          class="bar"
          data-state={done === total ? "done" : "running"}
          role="progressbar"
          aria-label="Pictures of the grid"
          aria-valuemin={0}
          aria-valuemax={total}
          aria-valuenow={done}
        >
          <div style={`transform: scaleX(${done / total})`} />
        </div>
        <p class="status">
          {done} of {total} pictures
        </p>
        <div class="row actions">
          {done < total && (
            <button type="button" onClick={() => void stopGrid()}>
              <Icon name="stop" /> Stop
            </button>
          )}
          <button type="button" disabled={done < total} onClick={() => void download(shown)}>
            <Icon name="download" /> Download as one picture
          </button>
        </div>
      </div>
    </>
  );
}

function Label({ name, value }: { name: string; value: string }) {
  if (name === "") return null;
  return (
    <>
      <span class="quiet">{labelOf(name)}</span> {value}
    </>
  );
}

function Cell({ job }: { job: Job | undefined }) {
  const output = job?.outputs[0];
  const ratio = job ? Number(job.request.width) / Number(job.request.height) : 1;
  return (
    <button
      type="button"
      class="tile"
      style={`aspect-ratio: ${ratio || 1}`}
      disabled={!output}
      data-state={output ? "done" : job && !isOver(job) ? "waiting" : "none"}
      title={job?.error ?? undefined}
      aria-label={output ? "Open" : (job?.error ?? job?.state ?? "Not drawn")}
      onClick={() => {
        if (job && output) opened.value = `${job.id}/${output.index}`;
      }}
    >
      {output && <Media output={output} small />}
    </button>
  );
}

async function download(shown: Grid): Promise<void> {
  try {
    const url = URL.createObjectURL(await gridPicture(shown, isDark()));
    const link = document.createElement("a");
    [link.href, link.download] = [url, `grid-${shown.x.name || "none"}-${shown.y.name || "none"}.png`];
    link.click();
    URL.revokeObjectURL(url);
  } catch (error) {
    say(lineOf(error));
  }
}
