import { useRef } from "preact/hooks";
import { current, mask, maskOpen, pictures, set, setMask, takePicture } from "../draft";
import { OF_PICTURE, PICTURE_NAMES, PICTURES, type PictureName } from "../fields";
import { takes } from "../models";
import { Icon } from "../ui/Icon";
import { give } from "./DropZones";
import { Field } from "./Field";
import { MaskEditor } from "./MaskEditor";

/** The pictures that a drawing is given: a start, its mask, a film's end, a prompt. */
export function Pictures() {
  const names = PICTURE_NAMES.filter(takes);
  return (
    <>
      {names.map((name) => (
        <Given key={name} name={name} />
      ))}
      {maskOpen.value && pictures.value.image && <MaskEditor picture={pictures.value.image} />}
    </>
  );
}

function Given({ name }: { name: PictureName }) {
  const picture = pictures.value[name];
  const input = useRef<HTMLInputElement>(null);
  const { label, about } = PICTURES[name];
  return (
    <section
      class="card given"
      aria-label={label}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        const [file] = event.dataTransfer?.files ?? [];
        if (file) void give(name, file, file.name);
      }}
    >
      <h2>{label}</h2>
      <input
        ref={input}
        class="hidden"
        type="file"
        accept="image/*"
        tabIndex={-1}
        aria-label={`${label}: choose a file`}
        data-use={name}
        onChange={(event) => {
          const [file] = event.currentTarget.files ?? [];
          event.currentTarget.value = "";
          if (file) void give(name, file, file.name);
        }}
      />
      {picture === undefined ? (
        <button type="button" class="drop" onClick={() => input.current?.click()}>
          <Icon name="picture" />
          <span>{about}</span>
        </button>
      ) : (
        <>
          <div class="given-row">
            <div class="thumb">
              <img src={picture.url} alt={picture.name} />
              {name === "image" && mask.value && <img class="mask" src={mask.value.url} alt="The mask" />}
            </div>
            <div class="stack tight">
              <span class="name" title={picture.name}>
                {picture.name}
              </span>
              <span class="quiet">
                {picture.width} × {picture.height}
              </span>
              <div class="row">
                {name === "image" && takes("mask") && (
                  <button
                    type="button"
                    onClick={() => {
                      maskOpen.value = true;
                    }}
                  >
                    <Icon name="brush" /> {mask.value ? "Change the mask" : "Paint a mask"}
                  </button>
                )}
                <button type="button" onClick={() => takePicture(name)}>
                  <Icon name="trash" /> Remove
                </button>
              </div>
            </div>
          </div>
          {name === "image" && (
            <div class="fields">
              {OF_PICTURE.filter((field) => takes(field.name)).map((field) => (
                <Field key={field.name} field={field} />
              ))}
              {mask.value && (
                <div class="row">
                  {takes("paste") && (
                    <label class="check">
                      <input
                        type="checkbox"
                        checked={current("paste") !== false}
                        onChange={(event) => set("paste", event.currentTarget.checked ? undefined : false)}
                      />
                      Keep the rest exactly
                    </label>
                  )}
                  <button type="button" onClick={() => setMask(null)}>
                    Remove the mask
                  </button>
                </div>
              )}
            </div>
          )}
        </>
      )}
    </section>
  );
}
