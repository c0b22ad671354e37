import { fetchBlob, givenUrl, lineOf } from "../api";
import { adopt, asPicture, givePicture, keepSeed, setMask, takePicture } from "../draft";
import { PICTURE_NAMES } from "../fields";
import { go } from "../route";
import { say } from "../toasts";
import type { Job, Output } from "../types";
import { draw } from "./draw";

/** Take the settings of an output into the panel, with the pictures that its job was given. */
export async function takeFrom(job: Job, output: Output | null): Promise<void> {
  const own = output ? { prompts: [output.prompt], seed: output.seed, count: 1 } : {};
  adopt({ ...job.request, model: job.model, ...own });
  try {
    for (const name of PICTURE_NAMES) {
      if (job.request[name])
        await givePicture(name, await fetchBlob(givenUrl(job.id, name)), `the ${name} of that job`);
      else takePicture(name);
    }
    if (job.request.mask) setMask(await asPicture(await fetchBlob(givenUrl(job.id, "mask")), "mask"));
  } catch (error) {
    say(lineOf(error));
  }
  document.getElementById("prompt")?.scrollIntoView({ block: "center" });
}

/** Draw an output's settings again from another seed. */
export async function vary(job: Job, output: Output | null): Promise<void> {
  await takeFrom(job, output);
  keepSeed.value = false;
  await draw();
  window.scrollTo({ top: 0 });
}

/** Start from an output: the first frame, of a film. */
export async function startFrom(output: Output): Promise<void> {
  try {
    await givePicture("image", await fetchBlob(output.url), `picture of seed ${output.seed}`);
    say("The panel starts from this picture.");
  } catch (error) {
    say(lineOf(error));
  }
}

export const lookInside = (job: Job, output: Output): void => go("inside", job.id, output.index);
export const canStart = (output: Output): boolean => output.media.startsWith("image/");
