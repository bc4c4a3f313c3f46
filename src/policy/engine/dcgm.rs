//! NVIDIA's DCGM exporter: the counters that its shipped lists name, active or commented out.
//!
//! Source: `etc/default-counters.csv` and `etc/dcp-metrics-included.csv` of NVIDIA/dcgm-exporter, and the field identifiers of
//! DCGM for the units. Which of them an exporter exposes depends on its list, so presence is never proven.

use super::{Exporter, Metric, MetricKind, Unit};

use MetricKind::{Counter, Gauge};
use Unit::{Mebibytes, Other, Percent, Ratio};

/// The fields. Those that are named alike are all here, so that one is not taken for a misspelling of another.
pub(super) static FIELDS: [Metric; 73] = [
    field("DCGM_FI_DEV_SM_CLOCK", Gauge, Other),
    field("DCGM_FI_DEV_MEM_CLOCK", Gauge, Other),
    field("DCGM_FI_DEV_VIDEO_CLOCK", Gauge, Other),
    field("DCGM_FI_DEV_MEMORY_TEMP", Gauge, Other),
    field("DCGM_FI_DEV_GPU_TEMP", Gauge, Other),
    field("DCGM_FI_DEV_POWER_USAGE", Gauge, Other),
    field("DCGM_FI_DEV_POWER_USAGE_INSTANT", Gauge, Other),
    field("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Counter, Other),
    field("DCGM_FI_DEV_PCIE_TX_THROUGHPUT", Counter, Other),
    field("DCGM_FI_DEV_PCIE_RX_THROUGHPUT", Counter, Other),
    field("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", Counter, Other),
    field("DCGM_FI_DEV_GPU_UTIL", Gauge, Percent),
    field("DCGM_FI_DEV_MEM_COPY_UTIL", Gauge, Percent),
    field("DCGM_FI_DEV_ENC_UTIL", Gauge, Percent),
    field("DCGM_FI_DEV_DEC_UTIL", Gauge, Percent),
    field("DCGM_FI_DEV_XID_ERRORS", Gauge, Other),
    field("DCGM_FI_DEV_POWER_VIOLATION", Counter, Other),
    field("DCGM_FI_DEV_THERMAL_VIOLATION", Counter, Other),
    field("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", Counter, Other),
    field("DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", Counter, Other),
    field("DCGM_FI_DEV_LOW_UTIL_VIOLATION", Counter, Other),
    field("DCGM_FI_DEV_RELIABILITY_VIOLATION", Counter, Other),
    field("DCGM_FI_DEV_FB_FREE", Gauge, Mebibytes),
    up_only("DCGM_FI_DEV_FB_USED", Mebibytes),
    field("DCGM_FI_DEV_FB_RESERVED", Gauge, Mebibytes),
    field("DCGM_FI_DEV_FB_TOTAL", Gauge, Mebibytes),
    up_only("DCGM_FI_DEV_FB_USED_PERCENT", Ratio),
    field("DCGM_FI_DEV_BAR1_USED", Gauge, Mebibytes),
    field("DCGM_FI_DEV_BAR1_FREE", Gauge, Mebibytes),
    field("DCGM_FI_DEV_BAR1_TOTAL", Gauge, Mebibytes),
    field("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_RETIRED_SBE", Counter, Other),
    field("DCGM_FI_DEV_RETIRED_DBE", Counter, Other),
    field("DCGM_FI_DEV_RETIRED_PENDING", Counter, Other),
    field("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", Counter, Other),
    field("DCGM_FI_DEV_NVLINK_BANDWIDTH_L0", Counter, Other),
    field("DCGM_FI_DEV_VGPU_LICENSE_STATUS", Gauge, Other),
    field("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", Counter, Other),
    field("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", Counter, Other),
    field("DCGM_FI_DEV_ROW_REMAP_FAILURE", Gauge, Other),
    field("DCGM_FI_DEV_ROW_REMAP_PENDING", Gauge, Other),
    field("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", Gauge, Other),
    field("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", Gauge, Other),
    field("DCGM_FI_DEV_PSTATE", Gauge, Other),
    field("DCGM_FI_DEV_FAN_SPEED", Gauge, Percent),
    field("DCGM_FI_DEV_SLOWDOWN_TEMP", Gauge, Other),
    field("DCGM_FI_DEV_SHUTDOWN_TEMP", Gauge, Other),
    field("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_SM_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_SM_OCCUPANCY", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_TENSOR_IMMA_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_TENSOR_HMMA_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_TENSOR_DFMA_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_DRAM_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_FP64_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_FP32_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_FP16_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PIPE_INT_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_PCIE_TX_BYTES", Gauge, Other),
    field("DCGM_FI_PROF_PCIE_RX_BYTES", Gauge, Other),
    field("DCGM_FI_PROF_NVLINK_TX_BYTES", Gauge, Other),
    field("DCGM_FI_PROF_NVLINK_RX_BYTES", Gauge, Other),
    field("DCGM_FI_PROF_NVDEC0_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_NVJPG0_ACTIVE", Gauge, Ratio),
    field("DCGM_FI_PROF_NVOFA0_ACTIVE", Gauge, Ratio),
];

const fn field(name: &'static str, kind: MetricKind, unit: Unit) -> Metric {
    Metric { name, exporter: Exporter::Dcgm, kind, unit, up_only: false, successors: &[] }
}

/// Memory that an inference server takes at its start and keeps.
const fn up_only(name: &'static str, unit: Unit) -> Metric {
    Metric { name, exporter: Exporter::Dcgm, kind: Gauge, unit, up_only: true, successors: &[] }
}
