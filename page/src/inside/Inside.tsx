import { useSignal, useSignalEffect } from "@preact/signals";
import { lineOf } from "../api";
import { find, gallery, known, watch } from "../jobs";
import { items } from "../make/Gallery";
import { Progress, standing } from "../make/Progress";
import { address, go, place } from "../route";
import { isOver, type Job, type Output } from "../types";
import { Icon } from "../ui/Icon";
import { Media } from "../ui/Media";
import { drawAgain, keptOf } from "./again";
import { Walk } from "./Walk";

/** The walk of one output, step by step. */
export function Inside() {
  const [id, index] = place.value;
  return (
    <div class="inside">
      <h1>{id ? "From noise to picture" : "See inside"}</h1>
      {id ? <One id={id} index={Number(index ?? 0)} /> : <Choose />}
    </div>
  );
}

function Choose() {
  const shown = items().filter(({ output }) => output !== null);
  if (gallery.value === null) return null;
  if (shown.length === 0) {
    return (
      <p class="quiet none">
        There is no picture yet. <a href={address("make")}>Make one</a>, and see here how it came out of
        noise.
      </p>
    );
  }
  return (
    <>
      <p class="quiet">Choose a picture to see the steps that it was drawn in.</p>
      <ul class="tiles">
        {shown.map(({ key, job, output }) => (
          <li key={key}>
            {output && (
              <a
                class="tile"
                href={address("inside", job.id, output.index)}
                aria-label={output.prompt || "without words"}
              >
                <Media output={output} small />
              </a>
            )}
            <span class="caption" aria-hidden="true">
              {output?.prompt || "without words"}
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}

function One({ id, index }: { id: string; index: number }) {
  const error = useSignal("");
  useSignalEffect(() => {
    const [wanted] = place.value;
    if (!wanted) return;
    error.value = "";
    find(wanted).then(
      (job) => {
        if (!isOver(job)) watch(job.id);
      },
      (reason: unknown) => {
        error.value = lineOf(reason);
      },
    );
  });
  const job = known.value.get(id);
  const output = job?.outputs.find((one) => one.index === index);
  if (error.value) return <Problem line={error.value} />;
  if (!job) return null;
  if (!output) {
    if (isOver(job)) return <Problem line={job.error ?? "This job made no such picture."} />;
    return (
      <div class="under waiting">
        <Progress job={job} />
        <p class="status">{standing(job)}</p>
      </div>
    );
  }
  return output.steps > 0 ? (
    <Walk key={`${id}/${index}`} job={job} output={output} />
  ) : (
    <Without job={job} output={output} />
  );
}

function Problem({ line }: { line: string }) {
  return (
    <p class="error" role="alert">
      {line} <a href={address("inside")}>Choose another picture</a>
    </p>
  );
}

/** An output whose steps are not kept: it is drawn again, the same, with them. */
function Without({ job, output }: { job: Job; output: Output }) {
  const isBusy = useSignal(false);
  const error = useSignal("");
  const again = async () => {
    isBusy.value = true;
    error.value = "";
    try {
      const made = (await keptOf(job, output)) ?? (await drawAgain(job, output));
      go(
        "inside",
        made.id,
        made.outputs.find((one) => one.prompt === output.prompt && one.seed === output.seed)?.index ?? 0,
      );
    } catch (reason) {
      error.value = lineOf(reason);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <div class="without">
      <div class="tile">
        <Media output={output} />
      </div>
      <div class="stack">
        <p class="said">{output.prompt || <span class="quiet">without words</span>}</p>
        <p class="quiet">
          The steps of this {job.frames > 1 ? "film" : "picture"} were not kept. Drawn again with the same
          words and the same seed it is the same, and its steps are kept this time.
        </p>
        <div class="row">
          <button type="button" class="primary" disabled={isBusy.value} onClick={() => void again()}>
            <Icon name="inside" /> Draw it again, and look inside
          </button>
        </div>
        <p class="error" role="alert">
          {error.value}
        </p>
      </div>
    </div>
  );
}
