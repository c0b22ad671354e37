import { capital } from "../text";
import type { Run } from "./api";
import { took } from "./text";

/** How far a run is, in words. */
export function standing(run: Run): string {
  switch (run.state) {
    case "waiting":
      return "Waits for the run before";
    case "running": {
      if (!run.what) return "Starts";
      const share = run.progress === null ? "" : ` ${Math.round(run.progress * 100)} %`;
      return `${capital(run.what)}${share}`;
    }
    case "done":
      return run.result ? `Done in ${took(run.result.seconds)}` : "Done";
    case "cancelled":
      return "Stopped";
    case "failed":
      return run.error ?? "Failed";
  }
}

export function Standing({ run }: { run: Run }) {
  const isRunning = run.state === "running" || run.state === "waiting";
  return (
    <>
      {isRunning && (
        <div
          class="bar"
          role="progressbar"
          aria-label="Progress"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={run.progress === null ? undefined : Math.round(run.progress * 100)}
        >
          <div style={`transform: scaleX(${run.progress ?? 0})`} />
        </div>
      )}
      <p class="status" data-state={run.state} role={isRunning ? undefined : "status"}>
        {standing(run)}
      </p>
    </>
  );
}
