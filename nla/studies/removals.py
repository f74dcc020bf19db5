"""Tables of losses with parts of matrices removed -> what rises by more than its error, and text."""

import numpy as np


def upturns(table, errors=0):
    """The kinds whose smallest tenth costs more than the next one, by `errors` standard errors of both together."""
    found, last = [], table.part.max()
    for kind, rows in table[table.layer < 0].groupby("kind", sort=False):
        rows = rows.set_index("part")
        spread = np.hypot(rows.loss_error[last], rows.loss_error[last - 1]) if errors else 0.0
        if rows.loss[last] - rows.loss[last - 1] > errors * spread:
            found.append(kind)
    return found


def thousandths(table, index, column):
    """Text: `column` of a table of rises by `index` and kind, and its standard error if there is one, over 0.001."""
    error = next((name for name in (f"{column}_error", "error") if name in table), None)
    texts = [f"{round(1000 * rise, 1) + 0.0:.1f}" for rise in table[column]]  # + 0.0: no -0.0
    if error:
        texts = [f"{text} ±{1000 * e:.1f}" for text, e in zip(texts, table[error], strict=True)]
    found = table.assign(text=texts).pivot(index=index, columns="kind", values="text")
    return found.loc[table[index].unique(), table.kind.unique()].to_string()


def grown(table, column, then, now, errors=2):
    """The kinds whose rise is larger where `column` is `now` than where it is `then`, by `errors` errors of both."""
    rises = table.pivot(index=column, columns="kind", values="rise")[table.kind.unique()]
    spread = np.hypot(*table.pivot(index=column, columns="kind", values="error").loc[[then, now], rises.columns].values)
    return list(rises.columns[rises.loc[now] - rises.loc[then] > errors * spread])
