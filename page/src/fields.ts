/** The options that the panel shows, apart from words, pictures, seed and size. */

interface Shared {
  name: string;
  label: string;
  help: string;
  more?: boolean;
}

export interface NumberField extends Shared {
  kind: "number";
  min: number;
  max: number;
  step: number;
  slide?: number; // the slider's end, where typing may go further
}

export interface ChoiceField extends Shared {
  kind: "choice";
  choices: readonly string[] | "samplers" | "schedules";
  own?: string; // what no choice means, where the server decides
}

export interface SwitchField extends Shared {
  kind: "switch";
}

export interface TextField extends Shared {
  kind: "text";
  example: string;
}

export type Field = NumberField | ChoiceField | SwitchField | TextField;

export const FIELDS: readonly Field[] = [
  {
    kind: "number",
    name: "steps",
    label: "Steps",
    min: 1,
    max: 1000,
    step: 1,
    slide: 60,
    help: "How many steps the walk from noise to picture takes.",
  },
  {
    kind: "number",
    name: "cfg_scale",
    label: "Guidance",
    min: 0,
    max: 100,
    step: 0.5,
    slide: 15,
    help: "1 is off; more follows the prompt harder.",
  },
  {
    kind: "choice",
    name: "sampler",
    label: "Sampler",
    choices: "samplers",
    help: "How each step is made.",
  },
  {
    kind: "choice",
    name: "schedule",
    label: "Schedule",
    choices: "schedules",
    own: "the sampler's",
    help: "Which noise levels the walk visits.",
  },
  {
    kind: "number",
    name: "frames",
    label: "Frames",
    min: 1,
    max: 1024,
    step: 1,
    slide: 81,
    help: "How many frames the film has.",
  },
  {
    kind: "number",
    name: "fps",
    label: "Frames a second",
    min: 1,
    max: 120,
    step: 1,
    slide: 30,
    help: "The film's pace.",
  },
  {
    kind: "number",
    name: "cfg_scale_2",
    label: "Guidance, low noise",
    min: 0,
    max: 100,
    step: 0.5,
    slide: 15,
    help: "Of the second expert, which draws the details.",
    more: true,
  },
  {
    kind: "number",
    name: "shift",
    label: "Shift",
    min: 0.1,
    max: 100,
    step: 0.1,
    slide: 12,
    help: "More spends more steps on the layout.",
    more: true,
  },
  {
    kind: "number",
    name: "eta",
    label: "Fresh noise (eta)",
    min: 0,
    max: 10,
    step: 0.05,
    slide: 1,
    help: "Noise that each step adds, for samplers that take it.",
    more: true,
  },
  {
    kind: "number",
    name: "cfg_rescale",
    label: "Rescale guidance",
    min: 0,
    max: 1,
    step: 0.05,
    help: "How much of the contrast that guidance adds to remove.",
    more: true,
  },
  {
    kind: "text",
    name: "cfg_interval",
    label: "Guide only between",
    example: "-4,2",
    help: "Two values of log(alpha / sigma); empty guides everywhere.",
    more: true,
  },
  {
    kind: "choice",
    name: "noise",
    label: "Noise",
    choices: ["per_sample", "batch", "brownian"],
    help: "Where the noise comes from.",
    more: true,
  },
  {
    kind: "choice",
    name: "weighting",
    label: "Weighted words",
    choices: ["none", "a1111", "comfy", "compel"],
    help: "Whose signs, such as (this:1.3), to read.",
    more: true,
  },
  {
    kind: "choice",
    name: "long_prompt",
    label: "Long prompts",
    choices: ["chunks", "refuse"],
    help: "Read more than 75 tokens in chunks, or refuse them.",
    more: true,
  },
  {
    kind: "number",
    name: "clip_skip",
    label: "Clip skip",
    min: 1,
    max: 12,
    step: 1,
    help: "Which block of the text encoder to read, from its end.",
    more: true,
  },
];

/** Options of a start picture, shown beside it. */
export const OF_PICTURE: readonly Field[] = [
  {
    kind: "number",
    name: "strength",
    label: "Strength",
    min: 0,
    max: 1,
    step: 0.05,
    help: "How much of the picture changes.",
  },
  {
    kind: "choice",
    name: "fit",
    label: "Fit",
    choices: ["crop", "stretch"],
    help: "What happens to a picture of another shape.",
  },
  {
    kind: "switch",
    name: "exact_steps",
    label: "Walk all steps",
    help: "Smaller steps over the same range, at any strength.",
  },
];

export const PICTURE_NAMES = ["image", "last_image", "image_prompt"] as const;
export type PictureName = (typeof PICTURE_NAMES)[number];

export const PICTURES: Record<PictureName, { label: string; about: string }> = {
  image: { label: "Start from a picture", about: "Drop one here, paste it, or choose a file." },
  last_image: { label: "End with a picture", about: "The film's last frame." },
  image_prompt: { label: "Picture as a prompt", about: "Read besides the words." },
};

export const ALL_FIELDS: ReadonlyMap<string, Field> = new Map(
  [...FIELDS, ...OF_PICTURE].map((field) => [field.name, field]),
);
