import type { Output } from "../types";

interface Props {
  output: Output;
  small?: boolean; // in a list: films stand still until one points at them
}

/** An output: a picture, or a film that plays. */
export function Media({ output, small = false }: Props) {
  const alt = output.prompt || "without words";
  if (!output.media.startsWith("video/")) {
    return (
      <img
        src={output.url}
        alt={alt}
        loading={small ? "lazy" : "eager"}
        decoding="async"
        draggable={!small}
      />
    );
  }
  const still = small || matchMedia("(prefers-reduced-motion: reduce)").matches;
  return (
    <video
      src={output.url}
      aria-label={alt}
      muted
      loop
      playsInline
      autoplay={!still}
      controls={!small}
      preload={small ? "metadata" : "auto"}
      onMouseEnter={(event) => small && void event.currentTarget.play().catch(() => undefined)}
      onMouseLeave={(event) => small && event.currentTarget.pause()}
    />
  );
}
