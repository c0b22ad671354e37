import { lineOf, ServerError } from "../api";
import { job, keepSeed, randomSeed, refused, seed } from "../draft";
import { show, start } from "../jobs";

/** Submit what the panel describes, and show it forming. */
export async function draw(): Promise<void> {
  refused.value = null;
  try {
    if (!keepSeed.value) seed.value = randomSeed();
    const made = await start({ ...(await job()), ...(seed.value.trim() ? { seed: seed.value.trim() } : {}) });
    show(made.id);
  } catch (error) {
    refused.value = { line: lineOf(error), option: error instanceof ServerError ? error.option : null };
  }
}
