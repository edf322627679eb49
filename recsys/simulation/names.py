"""Made-up company names, for people to read; nothing else looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from recsys.domain import LegalForm

_Option = TypeVar("_Option")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_MASCULINE = _words(
    "Вектор Горизонт Маяк Импульс Караван Меридиан Причал Рубеж Парус Родник Компас Феникс Гранит "
    "Кедр Янтарь Базис Азимут Фарватер Мост Ориентир Якорь Ветер Каскад Спутник Формат Проспект "
    "Квартал Берег Полюс Бастион "
)
_FEMININE = _words(
    "Линия Орбита Гавань Звезда Высота Радуга Вершина Весна Заря Река Долина Основа Панорама Стрела "
    "Волна Галерея Стихия Комета Пристань Мозаика "
)
_ADJECTIVES = (
    ("Новый", "Новая"),
    ("Северный", "Северная"),
    ("Южный", "Южная"),
    ("Белый", "Белая"),
    ("Синий", "Синяя"),
    ("Первый", "Первая"),
    ("Золотой", "Золотая"),
    ("Зелёный", "Зелёная"),
    ("Серебряный", "Серебряная"),
    ("Верный", "Верная"),
    ("Дальний", "Дальняя"),
    ("Волжский", "Волжская"),
    ("Уральский", "Уральская"),
    ("Сибирский", "Сибирская"),
    ("Невский", "Невская"),
)
_SUFFIXES = {
    "A": ("Агро", "Поле"),
    "B": ("Ресурс", "Недра"),
    "C": ("Пром", "Завод", "Деталь"),
    "D": ("Энерго", "Тепло"),
    "E": ("Эко", "Вода"),
    "F": ("Строй", "Монтаж", "Ремонт"),
    "G": ("Торг", "Опт", "Маркет"),
    "H": ("Логистик", "Транс", "Карго"),
    "I": ("Кафе", "Отель", "Кухня"),
    "J": ("Софт", "Диджитал", "Код"),
    "K": ("Финанс", "Капитал"),
    "L": ("Недвижимость", "Дом"),
    "M": ("Консалт", "Проект", "Право"),
    "N": ("Сервис", "Клининг"),
    "O": ("Центр",),
    "P": ("Знание", "Школа"),
    "Q": ("Мед", "Клиника"),
    "R": ("Спорт", "Студия"),
    "S": ("Бьюти", "Быт", "Мастер"),
}
_SURNAMES = _words(
    "Соколов Лебедев Морозов Волков Новиков Зайцев Павлов Семёнов Голубев Виноградов Богданов "
    "Воробьёв Фёдоров Михайлов Беляев Тарасов Белов Комаров Орлов Киселёв Макаров Андреев Ковалёв "
    "Гусев Титов Кузьмин Кудрявцев Баранов Куликов Алексеев Степанов Яковлев Сорокин Сергеев Романов "
    "Захаров Борисов Королёв Герасимов Пономарёв Григорьев Лазарев Медведев Ершов Никитин Соболев "
    "Рябов Поляков Цветков Данилов Жуков Фролов Журавлёв Николаев Крылов Максимов Сидоров Осипов "
    "Белоусов Федотов "
)
_INITIALS = "АБВГДЕИКЛМНОПРСТФЮЯ"
_PUBLIC = {
    "O": ("МКУ «Центр городского хозяйства № {}»", "МКУ «Управление благоустройства № {}»"),
    "P": ("МБОУ «Школа № {}»", "МБДОУ «Детский сад № {}»", "МАОУ «Гимназия № {}»"),
    "Q": ("ГБУЗ «Городская поликлиника № {}»", "ГБУЗ «Городская больница № {}»"),
    "R": ("МБУК «Городская библиотека № {}»", "МБУ «Спортивная школа № {}»"),
}


def make_name(form: LegalForm, industry: str, rng: np.random.Generator) -> str:
    """One company name.

    Args:
        form: Legal form; it decides the pattern.
        industry: OKVED section; it colours the name.
        rng: Source of the draws.

    Example:
        >>> make_name(LegalForm.LLC, "F", np.random.default_rng(4))
        'ООО «Квартал-Монтаж»'
    """
    match form:
        case LegalForm.PUBLIC_BODY:
            return _pick(_PUBLIC.get(industry, _PUBLIC["O"]), rng).format(rng.integers(1, 150))
        case LegalForm.SOLE_TRADER:
            return f"ИП {_person(rng)}"
        case LegalForm.LAWYER:
            return f"Адвокат {_person(rng)}"
        case LegalForm.NOTARY:
            return f"Нотариус {_person(rng)}"
        case LegalForm.JOINT_STOCK:
            return f"АО «{_brand(industry, rng)}»"
        case _:
            return f"ООО «{_brand(industry, rng)}»"


def _person(rng: np.random.Generator) -> str:
    surname = _pick(_SURNAMES, rng) + ("а" if rng.random() < 0.45 else "")
    return f"{surname} {_pick(_INITIALS, rng)}. {_pick(_INITIALS, rng)}."


def _brand(industry: str, rng: np.random.Generator) -> str:
    is_feminine = rng.random() < len(_FEMININE) / (len(_FEMININE) + len(_MASCULINE))
    noun = _pick(_FEMININE if is_feminine else _MASCULINE, rng)
    kind = rng.random()
    if kind < 0.2:
        return noun
    if kind < 0.55:
        return f"{_pick(_ADJECTIVES, rng)[int(is_feminine)]} {noun}"
    return f"{noun}-{_pick(_SUFFIXES[industry], rng)}"


def _pick(options: Sequence[_Option], rng: np.random.Generator) -> _Option:
    return options[int(rng.integers(len(options)))]
