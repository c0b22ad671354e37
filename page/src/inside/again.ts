/** An output drawn again, with its steps kept. */

import { fetchBlob, getJobs, getOptions, givenUrl } from "../api";
import { base64 } from "../draft";
import { start } from "../jobs";
import type { Job, Options, Output } from "../types";

const GIVEN = ["image", "last_image", "mask", "image_prompt"] as const;
const OWN = new Set(["prompts", "seed", "count", "batch_size"]);

/** A job that has drawn the same with its steps kept, if there is one among the newest with these words. */
export async function keptOf(job: Job, output: Output): Promise<Job | null> {
  const { jobs } = await getJobs(50, null, output.prompt.slice(0, 200));
  const wanted = identity(job.request);
  const same = (other: Output) =>
    other.steps > 0 && other.prompt === output.prompt && other.seed === output.seed;
  return jobs.find((one) => one.outputs.some(same) && identity(one.request) === wanted) ?? null;
}

/** Submit the job of one output alone, of its own words and seed. */
export async function drawAgain(job: Job, output: Output): Promise<Job> {
  const { options } = await getOptions(job.model);
  const taken = Object.entries(job.request).filter(
    ([name, value]) =>
      options.includes(name) && value !== null && !OWN.has(name) && !GIVEN.some((one) => one === name),
  );
  const given: Options = {};
  for (const name of GIVEN) {
    if (job.request[name]) given[name] = await base64(await fetchBlob(givenUrl(job.id, name)));
  }
  return start({
    ...Object.fromEntries(taken),
    ...given,
    model: job.model,
    prompts: [output.prompt],
    seed: output.seed,
    count: 1,
    keep_steps: true,
  });
}

function identity(request: Options): string {
  return JSON.stringify(
    Object.entries(request)
      .filter(([name]) => !OWN.has(name))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}
