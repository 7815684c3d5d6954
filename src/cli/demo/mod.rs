//! `lagvalve demo`: a cluster, live traffic, a backfill and a group that is too slow, all over TCP through real clients,
//! with a live chart of what the valve does about it. Every figure is counted by the clients.

mod args;
mod chart;
mod cluster;
mod consumer;
mod crew;
mod director;
mod lines;
mod measure;
mod member;
mod pacer;
mod payload;
mod record;
mod screen;
mod serve;
mod story;
mod summary;
mod truth;
mod verifier;
mod view;
mod writers;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use args::DemoArgs;
use cluster::Cluster;
use crew::Crew;
use director::{Director, Ending};
use story::Story;
use summary::{Outcome, Summary};
use truth::Truth;

use super::exit::Failure;
use super::output::{Output, say};
use super::signals::StopSignals;

/// Plays a scenario and prints its summary.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    args.check()?;
    let mut signals = StopSignals::listen()?;
    let truth = Arc::new(Truth::new());
    let cluster = Arc::new(Cluster::open(&args, &truth).await?);
    if !args.json {
        say(&format!("lagvalve demo on the {}: clients are starting …", cluster.describe()));
    }
    let played = play(&args, &cluster, &truth, &mut signals).await;
    // On every way out: the topic was made for this run alone.
    let closed = cluster.close().await;
    let (summary, ending) = played?;
    print_summary(&args, &summary)?;
    closed?;
    match ending {
        Ending::Interrupted => Err(Failure::Interrupted),
        Ending::Played | Ending::Quit if args.strict && !summary.kept() => {
            Err(Failure::Failed(format!("missed: {}", summary.missed.join(", "))))
        }
        Ending::Played | Ending::Quit => Ok(()),
    }
}

async fn play(
    args: &DemoArgs,
    cluster: &Arc<Cluster>,
    truth: &Arc<Truth>,
    signals: &mut StopSignals,
) -> Result<(Summary, Ending), Failure> {
    let story = Story::new(args.scenario, args.seconds());
    let assemble = Crew::assemble(Arc::clone(cluster), Arc::clone(truth), story.clone(), args);
    let crew = tokio::select! {
        crew = assemble => crew?,
        _ = signals.recv() => return Err(Failure::Interrupted),
    };
    let server = match args.listen {
        Some(listen) => Some(serve::serve(listen, crew.board()).await?),
        None => None,
    };
    let director = Director::new(story, Arc::clone(truth), args, cluster.describe())?;
    let directed = director.direct(crew, signals).await;
    if let Some(server) = server {
        server.shutdown(SERVER_PATIENCE).await;
    }
    let (played, verdict, ending) = directed?;
    let summary = Summary::of(&Outcome {
        story: &played.story,
        bins: played.bins(),
        totals: truth.totals(),
        verdict,
        live_ages: &played.live_ages,
        interrupted: ending != Ending::Played,
        embedded: cluster.is_embedded(),
        start: args.start(),
        set_point: args.target_lag.as_secs_f64(),
    });
    Ok((summary, ending))
}

fn print_summary(args: &DemoArgs, summary: &Summary) -> Result<(), Failure> {
    let bars = summary.bars(args.scenario);
    if args.json {
        if args.strict {
            bars.iter().for_each(|bar| say(&bar.line()));
        }
        return Output::new(true).object(summary);
    }
    let output = Output::new(false);
    summary.lines().iter().try_for_each(|line| output.line(line))?;
    if args.strict {
        output.line("")?;
        bars.iter().try_for_each(|bar| output.line(&bar.line()))?;
    }
    Ok(())
}

const SERVER_PATIENCE: Duration = Duration::from_secs(2);
