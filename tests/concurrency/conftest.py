"""Real threads with real connections: these tests commit."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection


@pytest.fixture
def race(transactional_db: None) -> Callable[[Sequence[Callable[[], Any]]], list[Any]]:
    """Return a function that lets calls start at the same moment and gives results or exceptions."""

    def run(calls: Sequence[Callable[[], Any]]) -> list[Any]:
        barrier = threading.Barrier(len(calls))
        results: list[Any] = [None] * len(calls)

        def one(index: int) -> None:
            try:
                connection.ensure_connection()
                barrier.wait(timeout=30)
                results[index] = calls[index]()
            except Exception as error:
                results[index] = error
            finally:
                connection.close()

        threads = [threading.Thread(target=one, args=(index,)) for index in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        return results

    return run
