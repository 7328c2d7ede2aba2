/* Browsers start no workers from files (file://). There, a hidden frame runs the worker's script instead, so that
   search works without a server. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = frame.contentWindow;
      this.ready = new Promise((resolve) => { this.start = resolve; });
      this.inner = inner;
      inner.postMessage_ = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      inner.addEventListener("load", () => this.start());
      const document_ = inner.document;
      document_.open();
      document_.write('<!doctype html><script>window.parentPost = window.postMessage_; window.postMessage = (data) => '
        + 'window.parentPost(data); window.importScripts = () => {};</scr' + 'ipt><script src="' + url + '"></scr' + 'ipt>');
      document_.close();
    }
    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {}
  };
}
