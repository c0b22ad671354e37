import { useEffect, useRef } from "preact/hooks";

interface Props {
  noisy: string;
  clean: string;
  step: number;
}

/** Noisy minus clean, on a canvas: middle grey where they agree. */
export function Difference({ noisy, clean, step }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let isStale = false;
    Promise.all([loaded(noisy), loaded(clean)]).then(
      ([one, other]) => {
        if (!isStale && canvas.current) draw(canvas.current, one, other);
      },
      () => undefined, // a step that is passed by before it has come
    );
    return () => {
      isStale = true;
    };
  }, [noisy, clean]);
  return (
    <canvas ref={canvas} role="img" aria-label={`Noisy state minus predicted picture at step ${step}`} />
  );
}

async function loaded(url: string): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

function draw(canvas: HTMLCanvasElement, noisy: HTMLImageElement, clean: HTMLImageElement): void {
  const [width, height] = [noisy.naturalWidth, noisy.naturalHeight];
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return;
  const pixels = (image: HTMLImageElement) => {
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  };
  const [a, b] = [pixels(noisy), pixels(clean)];
  for (let k = 0; k < a.data.length; k++) {
    a.data[k] = k % 4 === 3 ? 255 : 128 + ((a.data[k] ?? 0) - (b.data[k] ?? 0)) / 2;
  }
  context.putImageData(a, 0, 0);
}
