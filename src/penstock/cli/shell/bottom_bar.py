"""The line below the prompt: who and where we are, the connection, how many jobs run (pure)."""

from ..fitting import fitted, one_line


def bar_text(
    *,
    client_id: str,
    where: str,
    connection: str,
    running: int | None,
    beside: int,
    columns: int,
) -> str:
    """As wide as the terminal at most. ``where``: the context, or the server's address. What is not
    known is left out; what is most wanted stands first, because a narrow window cuts the end."""
    parts = [f"{client_id}@{where}" if client_id else where, connection]
    if running is not None:
        parts.append(f"{running} {'job' if running == 1 else 'jobs'} running")
    if beside:
        parts.append(f"{beside} beside")
    return fitted(one_line(" · ".join(parts)), max(columns, 1), "…")
