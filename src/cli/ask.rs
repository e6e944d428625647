//! Asks a running archive through its admin address.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Status and body of one request. The address may be a URL or `host:port`.
pub(super) async fn ask(address: &str, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let address = address.trim().trim_start_matches("http://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .with_context(|| format!("no archive can be asked at {address}"))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (Some(status), Some((_, body))) = (status, answer.split_once("\r\n\r\n")) else {
        bail!("{address} is not the admin address of an archive");
    };
    Ok((status, body.to_owned()))
}
