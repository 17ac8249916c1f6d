//! Names that Segment has given a meaning, with their types: traits of users and groups, revenue, products.
//!
//! The names are those of [Segment's specification](https://www.twilio.com/docs/segment/connections/spec). They are
//! conveniences: what they write could be set by name as well.

use std::ops::{Deref, DerefMut};

use jiff::civil::Date;

use crate::base::error::Error;
use crate::base::more::More;
use crate::base::time;
use crate::json::object::{Object, Value};
use crate::message::message::Time;

/// An object with a method for each name that Segment has reserved, and what lets it be used like an [`Object`].
macro_rules! traits {
    ($(#[$about:meta])* $name:ident {
        $($(#[$doc:meta])* $method:ident($type:ty) => $member:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default)]
        pub struct $name(Object);

        impl $name {
            /// No traits yet.
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets a trait of your own.
            #[must_use]
            pub fn with<'a>(mut self, name: &str, value: impl Into<Value<'a>>) -> Self {
                self.set(name, value);
                self
            }

            /// When the account or the group was created: a `SystemTime`, a [`Time`], or ISO 8601 text with a zone.
            #[must_use]
            pub fn created_at<'a>(mut self, time: impl Into<Time<'a>>) -> Self {
                set_time(&mut self, "createdAt", time.into());
                self
            }

            /// The postal address. Not set if all its fields are `None`.
            #[must_use]
            pub fn address(mut self, address: Address<'_>) -> Self {
                set_unless_empty(&mut self, "address", &address.into());
                self
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $method(self, $method: $type) -> Self {
                    self.with($member, $method)
                }
            )+
        }

        impl Deref for $name {
            type Target = Object;

            fn deref(&self) -> &Object {
                &self.0
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut Object {
                &mut self.0
            }
        }

        impl From<$name> for Object {
            fn from(traits: $name) -> Self {
                traits.0
            }
        }

        impl<'a> From<&'a $name> for Option<&'a Object> {
            fn from(traits: &'a $name) -> Self {
                Some(&traits.0)
            }
        }

        impl<'a> From<&'a $name> for Value<'a> {
            fn from(traits: &'a $name) -> Self {
                Value::Object(&traits.0)
            }
        }
    };
}

traits! {
    /// What is known about a user, for [`identify`](crate::Client::identify). The methods set the traits that Segment
    /// [has reserved](https://www.twilio.com/docs/segment/connections/spec/identify), [`with`](Traits::with) sets all
    /// others.
    ///
    /// ```
    /// use segment_native::{Address, Client, Company, Config, Traits};
    ///
    /// # let mut config = Config::new("WRITE_KEY");
    /// # config.dry_run = true;
    /// # let client = Client::new(config)?;
    /// let traits = Traits::new()
    ///     .email("ada@example.com")
    ///     .first_name("Ada")
    ///     .birthday(1815, 12, 10)
    ///     .created_at("2026-01-02T03:04:05Z")
    ///     .address(Address { city: Some("London"), ..Address::default() })
    ///     .company(Company { name: Some("Engines"), employee_count: Some(2), ..Company::default() })
    ///     .with("plan", "pro");
    /// client.identify("u-42", &traits, None)?;
    /// assert_eq!(
    ///     traits.to_json()?,
    ///     concat!(
    ///         r#"{"email":"ada@example.com","firstName":"Ada","birthday":"1815-12-10","#,
    ///         r#""createdAt":"2026-01-02T03:04:05.000Z","address":{"city":"London"},"#,
    ///         r#""company":{"name":"Engines","employee_count":2},"plan":"pro"}"#,
    ///     ),
    /// );
    /// # Ok::<(), segment_native::Error>(())
    /// ```
    ///
    /// It is an [`Object`] in all but name: `traits.set(...)` works too, and an error is found where the traits are
    /// used.
    Traits {
        /// In years.
        age(u32) => "age",
        /// The URL of a picture.
        avatar(&str) => "avatar",
        /// A text about the user.
        description(&str) => "description",
        /// The e-mail address.
        email(&str) => "email",
        /// The first name.
        first_name(&str) => "firstName",
        /// The gender.
        gender(&str) => "gender",
        /// The user's id in your database, if it is not the user id.
        id(&str) => "id",
        /// The last name.
        last_name(&str) => "lastName",
        /// The whole name. Where it is missing Segment puts the first and the last name together.
        name(&str) => "name",
        /// The telephone number.
        phone(&str) => "phone",
        /// What the user is at work, `VP of Engineering`.
        title(&str) => "title",
        /// The login name.
        username(&str) => "username",
        /// The URL of the user's site.
        website(&str) => "website",
    }
}

impl Traits {
    /// The date of birth, written as `1990-01-31`. It has neither time nor zone, because a moment can be another day
    /// elsewhere. A date that does not exist marks the traits.
    #[must_use]
    pub fn birthday(mut self, year: i16, month: i8, day: i8) -> Self {
        match Date::new(year, month, day) {
            Ok(date) if year > 0 => self.set("birthday", &date.to_string()),
            _ => {
                self.mark(Error::invalid("\"birthday\" is not a date"));
                return self;
            }
        };
        self
    }

    /// Where the user works. Not set if all its fields are `None`.
    #[must_use]
    pub fn company(mut self, company: Company<'_>) -> Self {
        set_unless_empty(&mut self, "company", &company.into());
        self
    }
}

traits! {
    /// What is known about a group, for [`group`](crate::Client::group). The methods set the traits that Segment
    /// [has reserved](https://www.twilio.com/docs/segment/connections/spec/group), [`with`](GroupTraits::with) sets all
    /// others.
    ///
    /// ```
    /// use segment_native::{Client, Config, GroupTraits};
    ///
    /// # let mut config = Config::new("WRITE_KEY");
    /// # config.dry_run = true;
    /// # let client = Client::new(config)?;
    /// let traits = GroupTraits::new().name("Initech").industry("Technology").employees(329).with("region", "EU");
    /// client.group("u-42", "g-7", &traits, None)?;
    /// assert_eq!(
    ///     traits.to_json()?,
    ///     r#"{"name":"Initech","industry":"Technology","employees":329,"region":"EU"}"#,
    /// );
    /// # Ok::<(), segment_native::Error>(())
    /// ```
    GroupTraits {
        /// The URL of a logo.
        avatar(&str) => "avatar",
        /// A text about the group.
        description(&str) => "description",
        /// The e-mail address.
        email(&str) => "email",
        /// How many people work there. Segment's page says text and shows numbers; this is a number.
        employees(u64) => "employees",
        /// The group's id in your database, if it is not the group id.
        id(&str) => "id",
        /// The industry.
        industry(&str) => "industry",
        /// The name.
        name(&str) => "name",
        /// The telephone number.
        phone(&str) => "phone",
        /// What the group has subscribed to.
        plan(&str) => "plan",
        /// The URL of the group's site.
        website(&str) => "website",
    }
}

/// A postal address, for [`Traits::address`] and [`GroupTraits::address`]. Fields that are `None` are not written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Address<'a> {
    /// Street and number.
    pub street: Option<&'a str>,
    /// The city.
    pub city: Option<&'a str>,
    /// The state or region.
    pub state: Option<&'a str>,
    /// The postal code.
    pub postal_code: Option<&'a str>,
    /// The country.
    pub country: Option<&'a str>,
    #[doc(hidden)]
    pub _more: More,
}

impl From<Address<'_>> for Object {
    fn from(address: Address<'_>) -> Self {
        let mut object = Object::new();
        set_some(&mut object, "street", address.street);
        set_some(&mut object, "city", address.city);
        set_some(&mut object, "state", address.state);
        set_some(&mut object, "postalCode", address.postal_code);
        set_some(&mut object, "country", address.country);
        object
    }
}

/// A user's company, for [`Traits::company`]. Fields that are `None` are not written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Company<'a> {
    /// The name.
    pub name: Option<&'a str>,
    /// The company's id in your database.
    pub id: Option<&'a str>,
    /// The industry.
    pub industry: Option<&'a str>,
    /// How many people work there.
    pub employee_count: Option<u64>,
    /// What the company has subscribed to.
    pub plan: Option<&'a str>,
    #[doc(hidden)]
    pub _more: More,
}

impl From<Company<'_>> for Object {
    fn from(company: Company<'_>) -> Self {
        let mut object = Object::new();
        set_some(&mut object, "name", company.name);
        set_some(&mut object, "id", company.id);
        set_some(&mut object, "industry", company.industry);
        set_some(&mut object, "employee_count", company.employee_count);
        set_some(&mut object, "plan", company.plan);
        object
    }
}

/// What an event earned: its properties
/// [`revenue` and `currency`](https://www.twilio.com/docs/segment/connections/spec/track). Segment's `value` is
/// something else, what an event is worth to you without money changing hands: set it like any other property. No
/// fields will be added here.
///
/// ```
/// use segment_native::{Object, Revenue};
///
/// let properties = Object::from([("plan", "pro")]).with_revenue(Revenue { amount: 19.99, currency: "USD" });
/// assert_eq!(properties.to_json()?, r#"{"plan":"pro","revenue":19.99,"currency":"USD"}"#);
/// # Ok::<(), segment_native::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Revenue<'a> {
    /// How much, with decimals.
    pub amount: f64,
    /// The currency, as its ISO 4217 code: `USD`.
    pub currency: &'a str,
}

impl From<Revenue<'_>> for Object {
    fn from(revenue: Revenue<'_>) -> Self {
        Object::new().with_revenue(revenue)
    }
}

impl Object {
    /// Sets the properties `revenue` and `currency`.
    pub fn set_revenue(&mut self, revenue: Revenue<'_>) -> &mut Self {
        self.set("revenue", revenue.amount).set("currency", revenue.currency)
    }

    /// The same, for building an object in one expression.
    #[must_use]
    pub fn with_revenue(mut self, revenue: Revenue<'_>) -> Self {
        self.set_revenue(revenue);
        self
    }
}

/// A product, as in [e-commerce events](https://www.twilio.com/docs/segment/connections/spec/ecommerce/v2): alone as
/// the properties of `Product Viewed`, or one of the `products` of `Order Completed`. Fields that are `None` are not
/// written.
///
/// ```
/// use segment_native::{Object, Product, Revenue};
///
/// let game = Product { product_id: Some("p-1"), name: Some("Monopoly"), price: Some(19.0), ..Product::default() };
/// let mut order = Object::from([("order_id", "o-9")]);
/// order.push("products", &Object::from(game)).set_revenue(Revenue { amount: 19.0, currency: "EUR" });
/// assert_eq!(
///     order.to_json()?,
///     concat!(
///         r#"{"order_id":"o-9","products":[{"product_id":"p-1","name":"Monopoly","price":19.0}],"#,
///         r#""revenue":19.0,"currency":"EUR"}"#,
///     ),
/// );
/// # Ok::<(), segment_native::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Product<'a> {
    /// Its id in your database.
    pub product_id: Option<&'a str>,
    /// Its stock-keeping unit.
    pub sku: Option<&'a str>,
    /// What kind of product it is.
    pub category: Option<&'a str>,
    /// Its name.
    pub name: Option<&'a str>,
    /// Who makes it.
    pub brand: Option<&'a str>,
    /// Which of several: a colour, a size.
    pub variant: Option<&'a str>,
    /// The price of one.
    pub price: Option<f64>,
    /// How many.
    pub quantity: Option<u64>,
    /// The place in the list it was shown in.
    pub position: Option<u64>,
    /// The coupon used for it.
    pub coupon: Option<&'a str>,
    /// The URL of its page.
    pub url: Option<&'a str>,
    /// The URL of its picture.
    pub image_url: Option<&'a str>,
    #[doc(hidden)]
    pub _more: More,
}

impl From<Product<'_>> for Object {
    fn from(product: Product<'_>) -> Self {
        let mut object = Object::new();
        set_some(&mut object, "product_id", product.product_id);
        set_some(&mut object, "sku", product.sku);
        set_some(&mut object, "category", product.category);
        set_some(&mut object, "name", product.name);
        set_some(&mut object, "brand", product.brand);
        set_some(&mut object, "variant", product.variant);
        set_some(&mut object, "price", product.price);
        set_some(&mut object, "quantity", product.quantity);
        set_some(&mut object, "position", product.position);
        set_some(&mut object, "coupon", product.coupon);
        set_some(&mut object, "url", product.url);
        set_some(&mut object, "image_url", product.image_url);
        object
    }
}

fn set_some<'a>(object: &mut Object, name: &str, value: Option<impl Into<Value<'a>>>) {
    if let Some(value) = value {
        object.set(name, value);
    }
}

/// A marked object is set even without members, so that its error is seen.
fn set_unless_empty(object: &mut Object, name: &str, inner: &Object) {
    if !inner.is_empty() || inner.error().is_some() {
        object.set(name, inner);
    }
}

fn set_time(object: &mut Object, name: &str, time: Time<'_>) {
    let ms = match time {
        Time::Ms(ms) => Some(ms),
        Time::Text(text) => time::parse(text),
    };
    match ms {
        Some(ms) => {
            object.set(name, Value::TimeMs(ms));
        }
        None => object.mark(Error::invalid(format!("\"{name}\" is not an ISO 8601 time with a zone"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, SystemTime};

    fn value(object: &Object) -> serde_json::Value {
        serde_json::from_str(&object.to_json().expect("not marked")).expect("JSON")
    }

    fn error(object: &Object) -> String {
        object.to_json().expect_err("marked").to_string()
    }

    fn address() -> Address<'static> {
        Address {
            street: Some("6th St"),
            city: Some("San Francisco"),
            state: Some("CA"),
            postal_code: Some("94103"),
            country: Some("USA"),
            ..Address::default()
        }
    }

    #[test]
    fn traits_of_users_have_segments_names_and_types() {
        let company = Company {
            name: Some("Initech"),
            id: Some("c-1"),
            industry: Some("Technology"),
            employee_count: Some(329),
            plan: Some("enterprise"),
            ..Company::default()
        };
        let traits = Traits::new()
            .address(address())
            .age(32)
            .avatar("https://example.com/a.png")
            .birthday(1990, 1, 31)
            .company(company)
            .created_at(SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678))
            .description("d")
            .email("a@b.c")
            .first_name("Ada")
            .gender("female")
            .id("i")
            .last_name("Lovelace")
            .name("Ada Lovelace")
            .phone("1")
            .title("Countess")
            .username("ada")
            .website("https://example.com")
            .with("plan", "pro")
            .with("score", 7);
        assert_eq!(
            value(&traits),
            json!({
                "address": {
                    "street": "6th St", "city": "San Francisco", "state": "CA", "postalCode": "94103", "country": "USA",
                },
                "age": 32, "avatar": "https://example.com/a.png", "birthday": "1990-01-31",
                "company": {
                    "name": "Initech", "id": "c-1", "industry": "Technology", "employee_count": 329,
                    "plan": "enterprise",
                },
                "createdAt": "2026-01-02T03:04:05.678Z", "description": "d", "email": "a@b.c", "firstName": "Ada",
                "gender": "female", "id": "i", "lastName": "Lovelace", "name": "Ada Lovelace", "phone": "1",
                "title": "Countess", "username": "ada", "website": "https://example.com", "plan": "pro", "score": 7,
            })
        );
    }

    #[test]
    fn traits_of_groups_have_segments_names_and_types() {
        let traits = GroupTraits::new()
            .address(Address { country: Some("NL"), ..Address::default() })
            .avatar("https://example.com/a.png")
            .created_at(Time::Ms(0))
            .description("d")
            .email("a@b.c")
            .employees(329)
            .id("i")
            .industry("Technology")
            .name("Initech")
            .phone("1")
            .plan("enterprise")
            .website("https://example.com")
            .with("own", true);
        assert_eq!(
            value(&traits),
            json!({
                "address": {"country": "NL"}, "avatar": "https://example.com/a.png",
                "createdAt": "1970-01-01T00:00:00.000Z", "description": "d", "email": "a@b.c", "employees": 329,
                "id": "i", "industry": "Technology", "name": "Initech", "phone": "1", "plan": "enterprise",
                "website": "https://example.com", "own": true,
            })
        );
    }

    #[test]
    fn traits_go_wherever_objects_go() {
        fn call<'a>(traits: impl Into<Option<&'a Object>>) -> String {
            traits.into().expect("given").to_json().expect("not marked")
        }
        let mut traits = Traits::new().name("Ada");
        traits.set("plan", "pro");
        let expected = r#"{"name":"Ada","plan":"pro"}"#;
        assert_eq!(call(&traits), expected);
        assert_eq!(call(&*traits), expected);
        let group = GroupTraits::new().name("Initech");
        assert_eq!(call(&group), r#"{"name":"Initech"}"#);
        let context = Object::new().with("traits", &traits);
        assert_eq!(value(&context), json!({"traits": {"name": "Ada", "plan": "pro"}}));
        assert_eq!(Object::from(traits).to_json().expect("not marked"), expected);
    }

    #[test]
    fn absent_fields_are_not_written() {
        assert_eq!(value(&Traits::new().address(Address::default()).company(Company::default())), json!({}));
        assert_eq!(value(&Object::from(Product::default())), json!({}));
        let address = Address { postal_code: Some("1012"), ..Address::default() };
        assert_eq!(value(&address.into()), json!({"postalCode": "1012"}));
    }

    #[test]
    fn what_is_no_date_marks_the_traits() {
        assert_eq!(error(&Traits::new().birthday(1990, 2, 30)), "\"birthday\" is not a date");
        assert_eq!(error(&Traits::new().birthday(0, 1, 1)), "\"birthday\" is not a date");
        assert_eq!(value(&Traits::new().birthday(987, 2, 3)), json!({"birthday": "0987-02-03"}));
        let undated = Traits::new().created_at("2026-01-02");
        assert_eq!(error(&undated), "\"createdAt\" is not an ISO 8601 time with a zone");
        let late = Traits::new().created_at(Time::Ms(i64::MAX));
        assert_eq!(error(&late), "\"createdAt\" is a time outside the years 1 to 9999");
        let zoned = Traits::new().created_at("2026-01-02T05:04:05+02:00");
        assert_eq!(value(&zoned), json!({"createdAt": "2026-01-02T03:04:05.000Z"}));
    }

    #[test]
    fn an_error_inside_is_not_lost() {
        let large = "x".repeat(crate::json::object::MAX_BYTES + 1);
        let address = Address { street: Some(&large), ..Address::default() };
        assert_eq!(error(&Traits::new().address(address)), "\"address\": \"street\" is larger than 32,000 bytes");
    }

    #[test]
    fn revenue_sets_two_properties_and_replaces_them() {
        let revenue = Revenue { amount: 19.99, currency: "USD" };
        assert_eq!(value(&revenue.into()), json!({"revenue": 19.99, "currency": "USD"}));
        let mut properties = Object::from([("value", 3)]).with_revenue(revenue);
        properties.set_revenue(Revenue { amount: 5.0, currency: "EUR" }).set("coupon", "c");
        assert_eq!(value(&properties), json!({"value": 3, "revenue": 5.0, "currency": "EUR", "coupon": "c"}));
        let none = Object::from(Revenue { amount: f64::NAN, currency: "USD" });
        assert_eq!(error(&none), "\"revenue\" is not a finite number");
    }

    #[test]
    fn products_have_segments_names() {
        let product = Product {
            product_id: Some("p"),
            sku: Some("G-32"),
            category: Some("Games"),
            name: Some("Monopoly"),
            brand: Some("Hasbro"),
            variant: Some("200 pieces"),
            price: Some(18.99),
            quantity: Some(1),
            position: Some(3),
            coupon: Some("MAY"),
            url: Some("https://example.com/p"),
            image_url: Some("https://example.com/p.jpg"),
            ..Product::default()
        };
        assert_eq!(
            value(&product.into()),
            json!({
                "product_id": "p", "sku": "G-32", "category": "Games", "name": "Monopoly", "brand": "Hasbro",
                "variant": "200 pieces", "price": 18.99, "quantity": 1, "position": 3, "coupon": "MAY",
                "url": "https://example.com/p", "image_url": "https://example.com/p.jpg",
            })
        );
    }
}
