"""Names that have a meaning for Segment: traits of users and groups, revenue, products.

All of these are dicts; their members could be set by name as well. Members that are None are left out.
"""

from __future__ import annotations


class Traits(dict):
    """What is known about a user, for ``identify``. The arguments are the traits that Segment has reserved
    (https://www.twilio.com/docs/segment/connections/spec/identify); all others go by their own names.

    Args:
        address: An :class:`Address`.
        age: In years.
        avatar: The URL of a picture.
        birthday: A ``date``. It has neither time nor zone: an instant would be another day elsewhere.
        company: A :class:`Company`.
        created_at: When the account was made: a ``datetime``.
        id: The user's id in your database, if it is not the user id.
        title: The user's job title.
        username: The name to log in with.
        others: Traits of your own.
    """

    def __init__(
        self,
        *,
        address=None,
        age=None,
        avatar=None,
        birthday=None,
        company=None,
        created_at=None,
        description=None,
        email=None,
        first_name=None,
        gender=None,
        id=None,
        last_name=None,
        name=None,
        phone=None,
        title=None,
        username=None,
        website=None,
        **others,
    ):
        given = {
            "address": address,
            "age": age,
            "avatar": avatar,
            "birthday": birthday,
            "company": company,
            "createdAt": created_at,
            "description": description,
            "email": email,
            "firstName": first_name,
            "gender": gender,
            "id": id,
            "lastName": last_name,
            "name": name,
            "phone": phone,
            "title": title,
            "username": username,
            "website": website,
        }
        super().__init__(_filled(given) | others)


class GroupTraits(dict):
    """What is known about a group, for ``group``. The arguments are the traits that Segment has reserved
    (https://www.twilio.com/docs/segment/connections/spec/group); all others go by their own names.

    Args:
        address: An :class:`Address`.
        created_at: When the group was made: a ``datetime``.
        employees: How many people work there.
        id: The group's id in your database, if it is not the group id.
        plan: What the group has subscribed to.
        others: Traits of your own.
    """

    def __init__(
        self,
        *,
        address=None,
        avatar=None,
        created_at=None,
        description=None,
        email=None,
        employees=None,
        id=None,
        industry=None,
        name=None,
        phone=None,
        plan=None,
        website=None,
        **others,
    ):
        given = {
            "address": address,
            "avatar": avatar,
            "createdAt": created_at,
            "description": description,
            "email": email,
            "employees": employees,
            "id": id,
            "industry": industry,
            "name": name,
            "phone": phone,
            "plan": plan,
            "website": website,
        }
        super().__init__(_filled(given) | others)


class Address(dict):
    """A postal address."""

    def __init__(self, *, street=None, city=None, state=None, postal_code=None, country=None):
        given = {"street": street, "city": city, "state": state, "postalCode": postal_code, "country": country}
        super().__init__(_filled(given))


class Company(dict):
    """A user's company."""

    def __init__(self, *, name=None, id=None, industry=None, employee_count=None, plan=None):
        given = {"name": name, "id": id, "industry": industry, "employee_count": employee_count, "plan": plan}
        super().__init__(_filled(given))


class Revenue(dict):
    """What an event earned, for ``{**Revenue(19.99, "USD")}`` among its properties.

    Args:
        amount: How much, with decimals.
        currency: The currency, as ISO 4217 writes it.
    """

    def __init__(self, amount, currency="USD"):
        super().__init__({"revenue": amount, "currency": currency})


class Product(dict):
    """A product, as e-commerce events have it (https://www.twilio.com/docs/segment/connections/spec/ecommerce/v2):
    alone as the properties of ``Product Viewed``, or one of the ``products`` of ``Order Completed``.
    """

    def __init__(
        self,
        *,
        product_id=None,
        sku=None,
        category=None,
        name=None,
        brand=None,
        variant=None,
        price=None,
        quantity=None,
        position=None,
        coupon=None,
        url=None,
        image_url=None,
        **others,
    ):
        given = {
            "product_id": product_id,
            "sku": sku,
            "category": category,
            "name": name,
            "brand": brand,
            "variant": variant,
            "price": price,
            "quantity": quantity,
            "position": position,
            "coupon": coupon,
            "url": url,
            "image_url": image_url,
        }
        super().__init__(_filled(given) | others)


def _filled(given):
    return {name: value for name, value in given.items() if value is not None}
