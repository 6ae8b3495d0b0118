"""What each role may do, in one table: every handler, every endpoint, every route. All else is the owner's."""

import inspect
import re
from collections.abc import Callable

from gradio.route_utils import API_PREFIX

OWNER = "owner"
"""The role that needs no entry."""
HANDLERS = {
    "look": """
        api.add_endpoints.claim api.add_endpoints.claims api.add_endpoints.classify api.add_endpoints.convolve
        api.add_endpoints.explain api.add_endpoints.layers
        api.add_endpoints.loss api.add_endpoints.meter api.add_endpoints.models api.add_endpoints.pool
        api.add_endpoints.quiz api.add_endpoints.receptive_field api.add_endpoints.runs api.add_endpoints.self_check
        api.add_endpoints.shift api.add_endpoints.shift_map api.add_endpoints.stack api.add_endpoints.lesson
        api.add_endpoints.sound
        dispatch.Dispatcher._follower.show_anew dispatch.Dispatcher._opener.open_job
        dispatch.Dispatcher._renewer.renew dispatch.Dispatcher.restore page.build_page.cancel_all
        services.Services.leave jobs.build_job_list.follow
        workbench.build_workbench.show_compared workbench.build_workbench.show_model
        evaluate.data_set._Evaluation.follow_protocol evaluate.data_set._Evaluation.plan evaluate.repair._Repair.plan
        explain.drawers.Drawers._handler.handle
        learn.before_cnns.build_before_cnns.plan learn.claims.build_claims.check
        learn.convolution.build_convolution.take_kernel
        learn.lesson_strip.build_lesson_strip.answer learn.lesson_strip.build_lesson_strip.open_lesson
        learn.losses.ask_autograd learn.losses.build_losses.take learn.shapes.ask_quiz
        shift.layer_meter.build_layer_meter_panel.measure shift.self_check.build_self_check_panel.check
        shift.shift_map._ShiftMap.compute shift.shift_map._ShiftMap.compute_all shift.shift_map._recolor
        shift.tab._Shift._wire_sliders.<lambda> shift.tab._Shift.ask shift.tab._Shift.grow_map
        shift.tab._Shift.open_maps shift.tab._Shift.wire.<lambda>
        train.comparison.Controls.wire.fit train.comparison.Controls.wire.restate
        train.tab._Train.wire_timer.follow train.results.curves.Curves.read_log
        train.results.mistakes.Mistakes.compare_with train.results.mistakes.Mistakes.follow
        train.results.mistakes.Mistakes.lister.show_pictures train.results.picture.Picture.explain
        train.results.picture.Picture.pick train.results.runs.Runs.chooser.choose train.results.runs.Runs.compare
        train.results.runs.Runs.follow train.results.runs.Runs.wire.turning.<lambda>
        train.results.snapshots.Through.advance train.results.snapshots.Through.choose
        train.results.snapshots.Through.follow
        train.results.snapshots.Through.measure train.results.snapshots.Through.show
        train.results.snapshots.Through.toggle train.tab._Train.wire_buttons.choose
        widgets.downloads.MadeFile.wire.prepare widgets.job_view.JobView._follow
    """,
    "try": """
        classify.build_classify_tab.classify_batch train.results.live.Live.__init__.answer
        widgets.class_boxes.build_class_boxes.keep
    """,
    "train": """
        train.examples.Examples.measure train.results.corrections.Corrections.add_exclusion
        train.results.corrections.Corrections.add_label train.results.corrections.Corrections.take_back
        train.results.corrections.Corrections.wire.train_again
        train.results.run_actions.RunActions.wire.doing.act train.results.runs.Runs.wire.open_capsule
        train.settings.data.build_data_panel.look_now train.settings.form._fit_rate
        train.settings.form._fit_smoothing train.settings.form._wire_looks.on.renew
        train.settings.learning_rate.build_rate_panel.test train.tab._Train.filler.fill
        train.tab._Train.wire_buttons.resume train.tab._Train.wire_settings.start
    """,
    OWNER: """
        api.add_endpoints.features
        learn.lessons.build_lessons.forget train.tab._Train.wire_buttons.publish
        widgets.job_view.JobView._actor.act widgets.job_view.JobView.wire_start.start
    """,
}
"""Role -> the handlers and endpoints that need it, by where they are defined below ``ui``."""
ROUTES = {
    "look": """
        / /config /theme.css /robots.txt /favicon.ico /manifest.json /pwa_icon /assets /static /svelte /login /logout
        app_id call cancel component_server heartbeat info login_check openapi.json queue reset run api startup-events
        theme.css token user file=
    """,
    "try": "upload upload_progress",
}
"""Role -> the routes that need it: a path's first part, below ``API_PREFIX`` without a slash."""

_HANDLERS = {name: role for role, names in HANDLERS.items() for name in names.split()}
_ROUTES = {name: role for role, names in ROUTES.items() for name in names.split()}


def name_handler(function: Callable | None) -> str:
    """How the table names a handler."""
    if function is None:
        return ""
    inner = inspect.unwrap(function)
    return f"{inner.__module__}.{inner.__qualname__}".removeprefix("ui.").replace(".<locals>", "")


def find_role(function: Callable | None) -> str:
    """The least role that may call a handler."""
    return _HANDLERS.get(name_handler(function), OWNER)


def has_rule(function: Callable) -> bool:
    """Whether somebody has thought about who may call it."""
    return name_handler(function) in _HANDLERS


def find_route_role(path: str) -> str:
    """The least role that may ask for a path."""
    if path.startswith(f"{API_PREFIX}/"):
        name = re.match(r"file=|[^/]*", path.removeprefix(f"{API_PREFIX}/"))
        return _ROUTES.get(name[0], OWNER) if name else OWNER
    return _ROUTES.get("/" + path[1:].partition("/")[0], OWNER)
