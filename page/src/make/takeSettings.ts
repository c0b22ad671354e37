import { lineOf, readFile } from "../api";
import { adopt } from "../draft";
import { say } from "../toasts";

/** Take the settings that a picture records into the panel. */
export async function takeSettings(file: Blob, name: string): Promise<void> {
  try {
    const { source, settings, notes } = await readFile(file);
    if (source === null) {
      say(`${name} records no settings.`);
      return;
    }
    adopt(settings);
    say(
      [`The panel has the settings of ${name} (${source}).`, ...notes.map((note) => `Note: ${note}.`)].join(
        " ",
      ),
    );
  } catch (error) {
    say(lineOf(error));
  }
}
