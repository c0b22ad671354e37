import type { Signal } from "@preact/signals";

/** One of a few values. */
export function Pick<T extends string>(props: {
  legend: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onPick: (value: T) => void;
}) {
  const { legend, value, options, onPick } = props;
  return (
    <fieldset class="arrows">
      <legend class="hidden">{legend}</legend>
      <div class="pick">
        {options.map(([one, words]) => (
          <label key={one}>
            <input type="radio" name={legend} checked={one === value} onChange={() => onPick(one)} />
            {words}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

/** A whole number within bounds; what lies beyond becomes the bound. */
export function Whole(props: {
  label: string;
  of: Signal<number>;
  min: number;
  max: number;
  disabled?: boolean;
  onChange?: () => void;
}) {
  const { label, of, min, max, disabled = false, onChange } = props;
  return (
    <label class="whole">
      <span class="quiet">{label}</span>
      <input
        type="number"
        inputMode="numeric"
        min={min}
        max={max}
        step={1}
        value={of.value}
        disabled={disabled}
        onChange={(event) => {
          const { value } = event.currentTarget;
          const wanted = value.trim() === "" ? Number.NaN : Math.round(Number(value));
          if (Number.isFinite(wanted)) of.value = Math.max(min, Math.min(max, wanted));
          event.currentTarget.value = String(of.value);
          onChange?.();
        }}
      />
    </label>
  );
}
