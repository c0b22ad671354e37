import { live } from "../jobs";
import { plural, seconds } from "../text";
import { isOver, type Job } from "../types";

/** How far a job is, as a bar and in words. */
export function Progress({ job }: { job: Job }) {
  const step = live.value?.job === job.id ? live.value.step : null;
  const progress = isOver(job) ? 1 : (step?.progress ?? job.progress);
  return (
    <div
      class="bar"
      role="progressbar"
      aria-label="Progress"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(progress * 100)}
      data-state={job.state}
    >
      <div style={`transform: scaleX(${progress})`} />
    </div>
  );
}

export function standing(job: Job): string {
  const step = live.value?.job === job.id ? live.value.step : null;
  switch (job.state) {
    case "queued": {
      const when = job.seconds_left === null ? "" : `, about ${seconds(job.seconds_left)}`;
      return job.position ? `Waits for ${plural(job.position, "other job")}${when}` : "Next in turn";
    }
    case "running": {
      if (step === null) return "Starts";
      const left = step.seconds_left === null ? "" : `, ${seconds(step.seconds_left)} left`;
      const made = job.total > 1 ? `${job.outputs.length} of ${job.total} done · ` : "";
      return `${made}${made ? "step" : "Step"} ${step.i} of ${step.n}${left}`;
    }
    case "done":
      return job.started === null || job.finished === null
        ? "Done"
        : `Done in ${(job.finished - job.started).toFixed(1)} s`;
    case "cancelled":
      return "Stopped";
    case "failed":
      return job.error ?? "Failed";
  }
}
