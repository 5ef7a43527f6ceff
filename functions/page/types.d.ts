/** What the page uses of Apache ECharts, which a script of its own loads. */
// deno-lint-ignore no-var
declare var echarts: {
  init(place: HTMLElement, theme: null, options: { renderer: "canvas" }): {
    setOption(options: unknown, replace: boolean): void;
    resize(): void;
    dispose(): void;
  };
};

/** What an element may have inside. Lists are taken apart, and what is null or false is left out. */
type Child = Node | string | number | null | undefined | false | readonly Child[];
