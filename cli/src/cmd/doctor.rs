//! `ft doctor`: what this host can and cannot do.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ft_worker::container::{Finding, Helper, State, probe};
use serde::Serialize;

use crate::args::{DoctorArgs, Global};
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};

/// The ports that the daemons use by default.
const TCP_PORTS: [u16; 3] = [7400, 7401, 7410];
const UDP_PORT: u16 = 7410;
/// 2026-01-01. A clock before this makes every certificate look as if it were not valid yet.
const EARLIEST_CLOCK: Duration = Duration::from_secs(1_767_225_600);

#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

pub(crate) async fn run(global: &Global, args: &DoctorArgs) -> Result<(), Failure> {
    let host = tokio::task::spawn_blocking(|| probe(Some(&Helper::current_exe())));
    let host = host.await.map_err(anyhow::Error::from)?;
    let usable = host.can_mount() || host.root || host.user_namespaces;
    let mut rows: Vec<Row> = host.findings.iter().map(row).collect();
    rows.push(ports());
    rows.push(clock());
    if let Some(url) = &args.manager {
        rows.push(manager(url).await);
    }
    match global.output {
        Format::Json => output::json(&rows)?,
        Format::Text => output::table(
            &["what", "state", "found", "cure"],
            rows.iter().map(|row| {
                let cure = row.cure.clone().unwrap_or_default();
                vec![row.name.clone(), row.state.to_owned(), row.detail.clone(), cure]
            }),
        )?,
    }
    match usable && rows.iter().all(|row| row.name != "manager" || row.state == "good") {
        true => Ok(()),
        false => Err(Failure::message(Kind::Failed, "this host cannot do its part; see the cures above")),
    }
}

fn row(finding: &Finding) -> Row {
    Row {
        name: finding.name.to_owned(),
        state: state_name(finding.state),
        detail: finding.detail.clone(),
        cure: finding.cure.map(str::to_owned),
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Limited => "limited",
        State::Missing => "missing",
    }
}

/// Whether the daemons' default ports are free.
fn ports() -> Row {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut taken: Vec<String> = Vec::new();
    for port in TCP_PORTS {
        if TcpListener::bind(at(port)).is_err() {
            taken.push(format!("{port}/tcp"));
        }
    }
    if UdpSocket::bind(at(UDP_PORT)).is_err() {
        taken.push(format!("{UDP_PORT}/udp"));
    }
    let free = taken.is_empty();
    Row {
        name: "ports".to_owned(),
        state: state_name(if free { State::Good } else { State::Limited }),
        detail: if free {
            "the default ports are free".to_owned()
        } else {
            format!("taken: {}", taken.join(", "))
        },
        cure: (!free).then(|| "if that is not ft itself, choose others with --listen".to_owned()),
    }
}

fn clock() -> Row {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let right = now >= EARLIEST_CLOCK;
    Row {
        name: "clock".to_owned(),
        state: state_name(if right { State::Good } else { State::Limited }),
        detail: humantime::format_rfc3339_seconds(UNIX_EPOCH + now).to_string(),
        cure: (!right)
            .then(|| "set the clock: certificates will look as if they were not valid yet".to_owned()),
    }
}

/// Whether a TCP connection to the manager can be made.
async fn manager(url: &str) -> Row {
    let address = url.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let connected =
        tokio::time::timeout(Duration::from_secs(5), tokio::net::TcpStream::connect(&address)).await;
    let problem = match connected {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer within 5 s".to_owned()),
    };
    Row {
        name: "manager".to_owned(),
        state: state_name(if problem.is_none() { State::Good } else { State::Missing }),
        cure: problem
            .is_some()
            .then(|| "start it with `ft manager`, or mend the network or the URL".to_owned()),
        detail: problem.unwrap_or_else(|| format!("{address} can be reached")),
    }
}
