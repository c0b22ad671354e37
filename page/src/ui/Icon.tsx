const PATHS = {
  draw: "M5 12h13M13 6l6 6-6 6",
  stop: "M7 7h10v10H7z",
  close: "M6 6l12 12M18 6L6 18",
  download: "M12 4v11m0 0l-4-4m4 4l4-4M5 19h14",
  trash: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5",
  reuse:
    "M4 12a8 8 0 0 1 13.7-5.700L20 8.500M20 4v4.500h-4.500M20 12a8 8 0 0 1-13.7 5.700L4 15.500M4 20v-4.500h4.5",
  dice: "M6 4h12a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zM9 9h.01M15 15h.01M12 12h.01M15 9h.01M9 15h.01",
  inside: "M3 12c3-5 6-7 9-7s6 2 9 7c-3 5-6 7-9 7s-6-2-9-7zM12 9.200a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6",
  picture: "M5 5h14v14H5zM5 16l4-4 3 3 3-3 4 4M14.5 9.5h.01",
  brush: "M14 4l6 6-8 6-4-4zM8 12c-3 0-3 3-5 6 4 1 7 0 8-3",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.5 15.500L20 20",
  reset: "M5 9h9a5 5 0 0 1 0 10H9M5 9l4-4M5 9l4 4",
  swap: "M4 9h14l-4-4M20 15H6l4 4",
  undo: "M4 9h10a5 5 0 0 1 0 10h-3M4 9l4-4M4 9l4 4",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  play: "M8 5l11 7-11 7z",
  pause: "M8 5v14M16 5v14",
  light:
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.500v2M12 19.500v2M2.5 12h2M19.5 12h2M5.3 5.300l1.4 1.400M17.3 17.300l1.4 1.400M18.7 5.300l-1.4 1.400M6.7 17.300l-1.4 1.4",
  dark: "M19.5 14.500A8 8 0 0 1 9.5 4.500a8 8 0 1 0 10 10z",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  file: "M7 4h7l4 4v12H7zM14 4v4h4",
} as const;

export type IconName = keyof typeof PATHS;

/** A drawing beside words that say the same; screen readers skip it. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
