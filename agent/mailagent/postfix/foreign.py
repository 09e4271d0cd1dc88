"""Rows of somebody else's `transport_maps` that stand in the way of what is held.

A row that names a next hop and no transport changes the next hop of mail whatever its transport is. Of mail that waits
the next hop is the reason, so such a row hides it in Postfix's queue and log (`mailagent.postfix.log.replies` knows the
form). A row of a whole address is found before any row of a domain, in whichever table: a domain that is held does not
hold that address.
"""

from dataclasses import dataclass

from mailagent.postfix.errors import PostfixError
from mailagent.postfix.files import Programs
from mailagent.postfix.tables import FOLDER, rows_of, tables

_PROXY = "proxy:"


@dataclass(frozen=True, slots=True)
class Rows:
    """What was found."""

    keys: tuple[str, ...] = ()  # of rows that hide a reason
    unread: tuple[str, ...] = ()  # tables that cannot be listed: expressions, SQL, LDAP
    addresses: tuple[str, ...] = ()  # of rows that go before held domains


async def foreign_rows(programs: Programs) -> Rows:
    """The rows that stand in the way, as far as tables can be listed.

    Raises:
        PostfixError: postconf does not say which tables there are.
    """
    said = (await programs.run("postconf", "-hx", "transport_maps")).decode("utf-8", "replace")
    keys: list[str] = []
    addresses: list[str] = []
    unread = []
    for table in tables(said):
        if f"/{FOLDER}/" in table:
            continue
        try:
            listed = await programs.run("postmap", "-s", table.removeprefix(_PROXY))
        except PostfixError:
            unread.append(table)
            continue
        rows = rows_of(listed.decode("utf-8", "replace"))
        keys += [key for key, value in rows.items() if value.startswith(":") and value != ":"]
        addresses += [key for key, value in rows.items() if "@" in key and value.partition(":")[0]]
    return Rows(tuple(keys), tuple(unread), tuple(addresses))
