//! The `segment` command: tools for those who build on the Segment client.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use segment_native::Call;

mod api;
mod batch;
mod body;
mod call;
mod collector;
mod completions;
mod connection;
mod doctor;
mod e2e;
mod event;
mod fault;
mod human;
mod import;
mod input;
mod inspect;
mod interrupt;
mod journal;
mod json;
mod line;
mod lock;
mod message;
mod note;
mod one;
mod output;
mod page;
mod pair;
mod plan;
mod print;
mod recent;
mod row;
mod schema;
mod send;
mod shipment;
mod spool;
mod store;
mod terminal;
mod text;
mod warning;

/// Tools for Segment's Tracking API
#[derive(Parser)]
#[command(name = "segment", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Identify(message::Identify),
    Track(message::Track),
    /// Say which web page a user saw
    Page(message::View),
    /// Say which screen of an app a user saw
    Screen(message::View),
    Group(message::Group),
    Alias(message::Alias),
    Call(call::Options),
    Send(send::Options),
    Import(import::Options),
    Inspect(inspect::Options),
    Spool(spool::Options),
    Doctor(doctor::Options),
    E2e(e2e::Options),
    Completions(completions::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Identify(options) => options.run(),
        Command::Track(options) => options.run(),
        Command::Page(options) => options.run(Call::Page),
        Command::Screen(options) => options.run(Call::Screen),
        Command::Group(options) => options.run(),
        Command::Alias(options) => options.run(),
        Command::Call(options) => call::run(&options),
        Command::Send(options) => send::run(&options),
        Command::Import(options) => import::run(&options),
        Command::Inspect(options) => inspect::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Spool(options) => spool::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::E2e(options) => e2e::run(&options),
        Command::Completions(options) => completions::run(&options),
    };
    result.unwrap_or_else(|error| {
        terminal::complain(&error.to_string());
        terminal::trouble()
    })
}
