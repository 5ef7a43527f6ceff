// @ts-check

import { ApiError, pause } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { number } from "./format.js";
import { problem } from "./panel.js";

/** @typedef {import("./views.js").Context} Context */

const UNNAMEABLE = /[^A-Za-z0-9._-]/g;

/** @param {Context} context */
export function show(context) {
  const list = h("div", { class: "content", "aria-live": "polite" });
  const input = h("input", {
    type: "file",
    multiple: true,
    accept: ".csv,.jsonl,.ndjson,.gz",
    "aria-label": "Files to import",
    onchange: () => {
      takeAll(input.files);
      input.value = "";
    },
  });
  /** @param {FileList | null | undefined} files */
  const takeAll = (files) => [...(files ?? [])].forEach((file) => list.prepend(take(context, file)));
  const drop = h("div", {
    class: "drop",
    ondragover: (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      drop.classList.add("over");
    },
    ondragleave: () => drop.classList.remove("over"),
    ondrop: (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      drop.classList.remove("over");
      takeAll(event.dataTransfer?.files);
    },
  }, [
    h("p", {}, "Drop CSV or JSONL files here, plain or gzip, or choose them."),
    input,
    h("p", { class: "soft" }, [
      "The columns event_id, occurred_at, user_id and event_type are needed; properties_json may be there. ",
      "A file that is dropped twice counts once.",
    ]),
  ]);
  return [drop, list];
}

/**
 * Uploads a file and shows what becomes of it.
 * @param {Context} context
 * @param {File} file
 */
function take(context, file) {
  const body = h("div", { class: "body" });
  const card = h("section", { class: "card", "aria-label": file.name }, [h("h2", {}, file.name), body]);
  importFile(context, file, body).catch((error) => {
    if (!context.signal.aborted) fill(body, problem(error));
  });
  return card;
}

/**
 * @param {Context} context
 * @param {File} file
 * @param {HTMLElement} body
 */
async function importFile({ api, project, signal }, file, body) {
  const name = file.name.replace(UNNAMEABLE, "-").slice(-100).replace(/^[^A-Za-z0-9]+/, "") || "file";
  const query = { project: project.name };
  fill(body, h("p", {}, "Uploading"));
  const invitation = await api.send("POST", "imports", { name, bytes: file.size }, query);
  await upload(invitation, file, body, signal);
  for (let wait = 300;; wait = Math.min(2 * wait, 3000)) {
    const state = await api.get(`imports/${invitation.import_id}`, query, signal);
    fill(body, progress(state));
    const counted = state.counted === null || state.counted.pending_batches === 0;
    if (state.status === "gone") throw new ApiError(0, "gone", "The file was deleted or replaced before it was read.");
    if (state.done && counted) {
      announce(`${file.name} is imported.`);
      fill(
        body,
        progress(state),
        state.rejects && h("button", {
          type: "button",
          onclick: async () => {
            try {
              const { url } = await api.get(`imports/${invitation.import_id}/rejects`, query, signal);
              h("a", { href: url, download: "" }).click();
            } catch (error) {
              fill(body, progress(state), problem(error));
            }
          },
        }, "Download the rows that were not counted"),
      );
      return;
    }
    await pause(wait, signal);
  }
}

/**
 * Sends a file to the address that it was invited to.
 * @param {{url: string, headers: Record<string, string>}} invitation
 * @param {File} file
 * @param {HTMLElement} body
 * @param {AbortSignal} signal
 */
function upload({ url, headers }, file, body, signal) {
  // fetch does not tell how far an upload is.
  const request = new XMLHttpRequest();
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Uploaded" });
  fill(body, h("p", {}, `Uploading ${number(file.size)} bytes`), bar);
  return new Promise((done, failed) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => bar.value = loaded / total);
    request.addEventListener("load", () => {
      if (request.status < 300) done(undefined);
      else failed(new ApiError(request.status, "upload_refused", `The upload was refused with ${request.status}.`));
    });
    request.addEventListener("error", () => {
      failed(new ApiError(0, "unreachable", "The upload did not arrive. Check the connection and try again."));
    });
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.open("PUT", url);
    Object.entries(headers).forEach(([name, value]) => {
      // A browser sets the length itself, and refuses to have it set.
      if (name.toLowerCase() !== "content-length") request.setRequestHeader(name, value);
    });
    request.send(file);
  });
}

const STATUSES = {
  waiting: "Waiting to be read",
  reading: "Being read",
  importing: "Being imported",
  done: "Imported",
};

/** @param {any} state */
function progress(state) {
  const counted = state.counted;
  const rows = Object.entries({
    Rows: state.rows,
    Accepted: state.accepted,
    Rejected: state.rejected,
    "Twice in the file": state.duplicates_in_file,
    "Counted now": counted?.inserted,
    "Counted before": counted?.duplicates,
    "Conflicts: other content under a known id": counted?.conflicts,
    "Batches on their way": counted?.pending_batches || undefined,
  }).filter(([, value]) => value !== undefined);
  return [
    h("p", {}, /** @type {Record<string, string>} */ (STATUSES)[state.status] ?? state.status),
    h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", { "data-row": name }, number(value))])),
    state.warnings.map((/** @type {any} */ warning) => h("p", { class: "down" }, warning.message)),
  ];
}
