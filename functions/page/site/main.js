// @ts-check

// Links that are a fragment alone resolve against <base>: without the slash at the end, each would load the page anew.
if (!location.pathname.endsWith("/")) {
  history.replaceState(null, "", document.baseURI + location.hash);
}
const status = document.getElementById("status");
if (status) {
  status.textContent = `Charts by ECharts ${echarts.version}`;
}
