/* Browsers start no workers from files (file://). There, a hidden frame runs the worker's script instead, so that
   search works without a server. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inner = frame.contentWindow;
      this.ready = new Promise((resolve) => { this.inner.started = resolve; });
      this.inner.toPage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      /* What a worker would find: postMessage to whoever made it; the search needs no further scripts. */
      const begin = "<script>window.postMessage = window.toPage; window.importScripts = () => {};</scr" + "ipt>";
      const run = '<script src="' + new URL(url, location.href) + '"></scr' + "ipt>";
      const end = "<script>window.started();</scr" + "ipt>";
      const page = this.inner.document;
      page.open();
      page.write("<!doctype html>" + begin + run + end);
      page.close();
    }
    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {}
  };
}
