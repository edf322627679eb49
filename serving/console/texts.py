"""What the pages say, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from recsys.domain import Language

_BOTH: Mapping[str, tuple[str, str]] = {
    "title": ("Пульт рекомендаций", "Recommendations console"),
    "login": ("Вход", "Log in"),
    "login.lead": (
        "Для тех, кто управляет рекомендациями: маркетолог, аналитик, дежурный, администратор.",
        "For those who run the recommendations: marketer, analyst, engineer on duty, administrator.",
    ),
    "login.name": ("Имя", "Name"),
    "login.password": ("Пароль", "Password"),
    "login.submit": ("Войти", "Log in"),
    "login.sign-on": ("Войти через единый вход", "Log in by single sign-on"),
    "login.or": ("или", "or"),
    "login.left": ("Вы вышли.", "You have logged out."),
    "login.changed": (
        "Пароль изменён. Войдите с новым.",
        "The password was changed. Log in with the new one.",
    ),
    "failed.login": ("Имя или пароль не подходят.", "Name or password is not right."),
    "failed.locked": (
        "Слишком много попыток. Попробуйте снова через {minutes} мин.",
        "Too many attempts. Try again in {minutes} min.",
    ),
    "failed.form": (
        "Страница устарела. Откройте её заново и повторите.",
        "The page is out of date. Open it anew and try again.",
    ),
    "failed.sign-on": ("Единый вход не удался.", "Single sign-on did not succeed."),
    "failed.role": ("Для вас здесь не назначена роль.", "No role here was given to you."),
    "failed.store": (
        "База данных не отвечает. Попробуйте через минуту.",
        "The database does not answer. Try again in a minute.",
    ),
    "failed.other": ("Не получилось.", "That did not work."),
    "failed.length": (
        "В новом пароле должно быть от 12 до 200 знаков.",
        "The new password must have 12 to 200 characters.",
    ),
    "failed.old": ("Прежний пароль не подходит.", "The present password is not right."),
    "back": ("На главную", "To the first page"),
    "logout": ("Выйти", "Log out"),
    "logout.everywhere": ("Выйти на всех устройствах", "Log out everywhere"),
    "password": ("Сменить пароль", "Change password"),
    "password.old": ("Прежний пароль", "Present password"),
    "password.new": ("Новый пароль, не короче 12 знаков", "New password, at least 12 characters"),
    "password.lead": (
        "После смены вы выйдете на всех устройствах.",
        "Afterwards you will be logged out everywhere.",
    ),
    "role.marketer": ("маркетолог", "marketer"),
    "role.analyst": ("аналитик", "analyst"),
    "role.duty": ("дежурный", "on duty"),
    "role.admin": ("администратор", "administrator"),
    "state.ready": ("Работает", "Ready"),
    "state.ready.lead": (
        "Запросы получают ответы, замечаний нет.",
        "Requests are answered, nothing to note.",
    ),
    "state.degraded": ("Работает с замечаниями", "Ready, with faults"),
    "state.degraded.lead": ("Запросы получают ответы.", "Requests are answered."),
    "state.unready": ("Не отвечает", "Not ready"),
    "state.unready.lead": ("Запросы останутся без ответа.", "Requests would fail."),
    "degraded.no_bundle": (
        "Модели ещё не обучены: порядок – по популярности.",
        "There are no models yet: popularity orders the lists.",
    ),
    "degraded.bundle_corrupt": (
        "Файлы моделей повреждены: порядок – по популярности.",
        "The models' files are damaged: popularity orders the lists.",
    ),
    "degraded.bundle_incompatible": (
        "Модели другой версии: порядок – по популярности.",
        "The models are of another version: popularity orders the lists.",
    ),
    "versions": ("Что сейчас в силе", "In force now"),
    "version.bundle": ("Модели", "Models"),
    "version.policy": ("Правила", "Policy"),
    "version.catalogue": ("Каталог", "Catalogue"),
    "version.offers": ("Предложений", "Offers"),
    "version.database": ("База данных", "Database"),
    "database.ok": ("отвечает", "answers"),
    "database.away": ("не отвечает", "does not answer"),
    "none": ("нет", "none"),
    "sources": ("Загруженные данные", "Loaded data"),
    "sources.none": ("Ничего не загружено.", "Nothing was loaded."),
    "source.name": ("Таблица", "Table"),
    "source.newest": ("Новейшая запись", "Newest row"),
    "source.loaded": ("Загружено", "Loaded"),
    "source.age": ("Возраст", "Age"),
    "orders": ("Последние распоряжения", "Latest orders"),
    "orders.none": ("Распоряжений ещё не было.", "Nothing was ordered yet."),
    "order.at": ("Когда", "When"),
    "order.what": ("Что", "What"),
    "order.author": ("Кто", "Who"),
    "order.why": ("Почему", "Why"),
    "order.policy": ("Правила {name}", "Policy {name}"),
    "order.withdrawal": ("Отозваны правила {name}", "Policy {name} withdrawn"),
    "order.stop": ("Остановлено: {name}", "Stopped: {name}"),
    "order.resume": ("Возобновлено: {name}", "Resumed: {name}"),
    "order.experiment": ("Эксперимент {name}", "Experiment {name}"),
    "order.bundle": ("Модели {name}", "Models {name}"),
    "order.holdout": ("Контрольная группа", "Hold-out"),
    "action.publish": ("опубликованы", "published"),
    "action.shadow": ("пробуются в тени", "tried in shadow"),
    "action.promote": ("введены в работу", "promoted"),
    "action.roll_back": ("возвращены", "rolled back"),
    "action.pin": ("закреплены", "pinned"),
    "action.unpin": ("откреплены", "unpinned"),
    "action.retire": ("сняты", "retired"),
    "action.draft": ("черновик", "draft"),
    "action.running": ("идёт", "running"),
    "action.stopped": ("остановлен", "stopped"),
    "action.decided": ("решён", "decided"),
    "author.command line": ("командная строка", "command line"),
    "author.guardrail": ("ограничение", "guardrail"),
    "why.overridden": ("вопреки оценке: {why}", "overridden: {why}"),
    "why.loaded": ("загружено из {folder}", "loaded from {folder}"),
    "age.minutes": ("{n} мин", "{n} min"),
    "age.hours": ("{n} ч", "{n} h"),
    "age.days": ("{n} дн", "{n} d"),
    "zone": ("Время: {zone}", "Times: {zone}"),
    "not-found": ("Такой страницы нет.", "There is no such page."),
}

TEXTS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        Language.RU: MappingProxyType({key: russian for key, (russian, _) in _BOTH.items()}),
        Language.EN: MappingProxyType({key: english for key, (_, english) in _BOTH.items()}),
    }
)
"""Sentences by key, for each language."""
