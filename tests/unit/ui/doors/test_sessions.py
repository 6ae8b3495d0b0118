"""Whose state is given up first."""

import gradio as gr
import pytest

from ui.doors import sessions as module
from ui.doors.sessions import Sessions


@pytest.fixture
def sessions(monkeypatch) -> Sessions:
    """With room for 4 pages, and for 2 sessions beside the newest that have called the API only."""
    monkeypatch.setattr(module, "MAX_CALLS", 2)
    with gr.Blocks() as page:
        page.kept, page.box = gr.State(0), gr.Textbox(label="box")
    page.state_session_capacity = 4
    found = Sessions()
    found.set_blocks(page)
    return found


def use(sessions: Sessions, *names: str) -> None:
    """Events of pages, which keep something."""
    for name in names:
        sessions[name][sessions.blocks.kept._id] = name


def test_calls_of_the_api_take_no_pages_place(sessions):
    use(sessions, "a", "b")
    for number in range(20):
        sessions[f"call {number}"]
    assert set(sessions.session_data) == {"a", "b", "call 18", "call 19"}
    assert {*sessions.time_last_used} == {*sessions.session_data}


def test_pages_that_are_open_stay_and_of_these_who_has_most_gives_way(sessions):
    with sessions.open("a", "1.1.1.1"), sessions.open("b", "2.2.2.2"), sessions.open("c", "2.2.2.2"):
        use(sessions, "a", "b", "c", *(f"closed {number}" for number in range(9)))
        assert set(sessions.session_data) == {"a", "b", "c", "closed 8"}
        with sessions.open("closed 8", "2.2.2.2"), sessions.open("d", "3.3.3.3"):
            use(sessions, "d")
            assert set(sessions.session_data) == {"a", "c", "closed 8", "d"}
    use(sessions, "e")
    assert set(sessions.session_data) == {"c", "closed 8", "d", "e"}


def test_a_session_keeps_its_state_and_what_was_changed_but_no_copy_of_the_page(sessions):
    state = sessions["a"]
    kept, box = sessions.blocks.kept, sessions.blocks.box
    state[kept._id] = 5
    state[box._id] = gr.Textbox("x" * 1000, label="changed", render=False)
    state._update_value_in_config(box._id, "y" * 1000)
    state._update_config(box._id)
    assert (state[kept._id], state[box._id].label, sessions["b"][box._id].label) == (5, "changed", "box")
    assert sessions["a"] is state and not state.config_values and list(state.components) == []
    assert {each[1] for each in state.state_components} == {5}
