// What a dashboard is, by the types that Grafana publishes, as it stands in JSON.
//
// There the members of enumerations are plain words, which TypeScript does not take for them: `InJson` says that they may be.
import type { Dashboard, GraphFieldConfig, Panel } from "@grafana/schema";
import type { Options as BarGauge } from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as TimeSeries } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type InJson<T> = T extends string
  ? string extends T
    ? string
    : `${T}`
  : T extends object
    ? { [K in keyof T]: InJson<T[K]> }
    : T;

// The query of the Prometheus data source; its types come with its plugin, which is not published apart.
interface Query {
  refId: string;
  datasource: { type: "prometheus"; uid: string };
  editorMode: "code" | "builder";
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
}

// A panel with the options and the fields of its kind, and nothing else.
type Kind<Type extends string, Options, Custom> = Omit<InJson<Panel>, "type" | "options" | "targets" | "fieldConfig"> & {
  type: Type;
  options: InJson<Options>;
  targets: Query[];
  fieldConfig: {
    defaults: Omit<NonNullable<InJson<Panel>["fieldConfig"]>["defaults"], "custom"> & { custom?: InJson<Custom> };
    overrides: NonNullable<InJson<Panel>["fieldConfig"]>["overrides"];
  };
};

export const dashboard = (_: InJson<Dashboard>): void => {};
export const timeseries = (_: Kind<"timeseries", TimeSeries, GraphFieldConfig>): void => {};
export const stat = (_: Kind<"stat", Stat, Record<string, never>>): void => {};
export const bargauge = (_: Kind<"bargauge", BarGauge, Record<string, never>>): void => {};
