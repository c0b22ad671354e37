/** The prose of an experiment: paragraphs, formulas, and words of code in backticks. */
export function Prose({ parts }: { parts: { text: string; isFormula: boolean }[] }) {
  return (
    <section class="lab-prose">
      <h2>What it is about</h2>
      {parts.map(({ text, isFormula }) =>
        isFormula ? <pre key={text}>{text}</pre> : <p key={text}>{spans(text)}</p>,
      )}
    </section>
  );
}

const spans = (text: string) =>
  text.split(/`([^`]+)`/).map((part, k) => (k % 2 === 1 ? <code key={part}>{part}</code> : part));
