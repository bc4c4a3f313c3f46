//! The picture of a run: a column for each strategy; from top to bottom the load, the metric of each pod, the replicas.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::timeline::{Moment, Strategy};

/// In pixels.
const COLUMN: u32 = 460;
const HEIGHT: u32 = 620;

const LOAD: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const POD: RGBColor = RGBColor(0x7f, 0xb3, 0xe6);
const AVERAGE: RGBColor = RGBColor(0x12, 0x4e, 0x8c);
const TARGET: RGBColor = RGBColor(0xd0, 0x4a, 0x1e);
const READY: RGBColor = RGBColor(0x6f, 0xbf, 0x8b);
const WANTED: RGBColor = RGBColor(0x1d, 0x6b, 0x3a);
const INK: RGBColor = RGBColor(0x33, 0x3b, 0x44);
const GRID: RGBColor = RGBColor(0xe6, 0xe9, 0xed);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws it into that file.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(file: &Path, tracks: &[(Strategy, Vec<Moment>)]) -> Result<(), String> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(said)?;
    }
    let columns = u32::try_from(tracks.len()).unwrap_or(1).max(1);
    let root = SVGBackend::new(file, (COLUMN * columns, HEIGHT)).into_drawing_area();
    root.fill(&WHITE).map_err(said)?;
    for (area, (strategy, moments)) in root.split_evenly((1, columns as usize)).iter().zip(tracks) {
        column(area, strategy, moments)?;
    }
    root.present().map_err(said)
}

fn column(area: &Area<'_>, strategy: &Strategy, moments: &[Moment]) -> Result<(), String> {
    let (title, rest) = area.split_vertically(34);
    let heading = format!("scalegate.dev/autoscale: {}", strategy.profile);
    title.draw(&Text::new(heading, (14, 10), font(16).color(&INK))).map_err(said)?;
    let parts = rest.split_evenly((3, 1));
    let [load, metric, replicas] = parts.as_slice() else { return Ok(()) };
    let end = moments.last().map_or(1.0, |moment| moment.at);
    let at = |value: fn(&Moment) -> f64| moments.iter().map(|moment| (moment.at, value(moment))).collect::<Vec<_>>();
    let highest = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);

    let flying = at(|moment| f64::from(moment.in_flight));
    let mut chart = axes(load, "requests in flight", end, highest(&flying).max(4.0) * 1.2, false)?;
    area_and_line(&mut chart, &flying, LOAD)?;

    // By pod, and where a pod has no number a gap.
    let mut pods: Vec<&String> = moments.iter().flat_map(|moment| moment.pods.keys()).collect();
    pods.sort();
    pods.dedup();
    let top =
        moments.iter().flat_map(|moment| moment.pods.values()).fold(strategy.target, |top, value| top.max(*value));
    let title = format!("{}: each pod (thin), average (thick), target {} (dashed)", strategy.unit, strategy.target);
    let mut chart = axes(metric, &title, end, top * 1.2, false)?;
    for pod in pods {
        for run in runs(moments, |moment| moment.pods.get(pod).copied()) {
            chart.draw_series(LineSeries::new(run, POD.stroke_width(1))).map_err(said)?;
        }
    }
    for run in runs(moments, Moment::average) {
        chart.draw_series(LineSeries::new(run, AVERAGE.stroke_width(3))).map_err(said)?;
    }
    let target = vec![(0.0, strategy.target), (end, strategy.target)];
    chart.draw_series(DashedLineSeries::new(target, 6, 4, TARGET.stroke_width(2))).map_err(said)?;

    let ready = at(|moment| f64::from(moment.ready));
    let wanted = at(|moment| f64::from(moment.wanted));
    let mut chart =
        axes(replicas, "replicas: ready (filled), wanted (line)", end, highest(&wanted).max(5.0) + 1.0, true)?;
    area_and_line(&mut chart, &steps(&ready), READY)?;
    chart.draw_series(LineSeries::new(steps(&wanted), WANTED.stroke_width(2))).map_err(said)?;
    Ok(())
}

/// A chart from 0 to `end` seconds and from 0 to `top`.
fn axes<'a, 'b>(area: &'a Area<'b>, title: &str, end: f64, top: f64, last: bool) -> Result<Chart<'a, 'b>, String> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, font(13).color(&INK))
        .margin_left(6)
        .margin_right(14)
        .x_label_area_size(if last { 34 } else { 18 })
        .y_label_area_size(36)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(said)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(font(11).color(&INK))
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"));
    if last {
        mesh.x_desc("seconds");
    }
    mesh.draw().map_err(said)?;
    Ok(chart)
}

fn area_and_line(chart: &mut Chart<'_, '_>, points: &[(f64, f64)], colour: RGBColor) -> Result<(), String> {
    let area = AreaSeries::new(points.iter().copied(), 0.0, colour.mix(0.45)).border_style(colour);
    chart.draw_series(area).map_err(said)?;
    Ok(())
}

/// A number that stands until the next one.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for &(at, value) in points {
        if let Some(&(_, before)) = steps.last() {
            steps.push((at, before));
        }
        steps.push((at, value));
    }
    steps
}

/// The stretches without a gap.
fn runs(moments: &[Moment], value: impl Fn(&Moment) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for moment in moments {
        match (value(moment), runs.last_mut()) {
            (Some(value), Some(run)) => run.push((moment.at, value)),
            (None, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
            _ => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn font(size: u32) -> plotters::style::TextStyle<'static> {
    ("sans-serif", size).into_text_style(&(COLUMN, HEIGHT))
}

fn said(error: impl Display) -> String {
    error.to_string()
}
