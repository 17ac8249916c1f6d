//! The currencies of the world, by their codes.

/// ISO 4217, list one: the currencies and funds in use on 1 January 2026 (up to amendment 180), in alphabetical order.
const CODES: [&str; 178] = [
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BHD", "BIF", "BMD", "BND",
    "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CLF", "CLP", "CNY",
    "COP", "COU", "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP",
    "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD",
    "IRR", "ISK", "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP",
    "LKR", "LRD", "LSL", "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN",
    "MXV", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN",
    "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD",
    "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX",
    "USD", "USN", "UYI", "UYU", "UYW", "UZS", "VED", "VES", "VND", "VUV", "WST", "XAD", "XAF", "XAG", "XAU", "XBA",
    "XBB", "XBC", "XBD", "XCD", "XCG", "XDR", "XOF", "XPD", "XPF", "XPT", "XSU", "XTS", "XUA", "XXX", "YER", "ZAR",
    "ZMW", "ZWG",
];

/// The same as numbers, which are faster to search.
static NUMBERS: [u32; CODES.len()] = {
    let (mut numbers, mut at) = ([0; CODES.len()], 0);
    while at < CODES.len() {
        numbers[at] = number(CODES[at].as_bytes());
        at += 1;
    }
    numbers
};

/// The code that `text` spells, in upper or lower case.
pub(crate) fn code(text: &str) -> Option<&'static str> {
    NUMBERS.binary_search(&number(text.as_bytes())).ok().map(|at| CODES[at])
}

/// Three letters as a number, the same in upper and lower case, in alphabetical order. Zero for a text of another
/// length.
const fn number(code: &[u8]) -> u32 {
    let [one, two, three] = code else { return 0 };
    u32::from_be_bytes([0, one.to_ascii_uppercase(), two.to_ascii_uppercase(), three.to_ascii_uppercase()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_in_any_case() {
        for known in CODES {
            assert_eq!(code(known), Some(known));
            assert_eq!(code(&known.to_lowercase()), Some(known));
        }
        assert_eq!(code("eUr"), Some("EUR"));
    }

    #[test]
    fn codes_are_three_capitals_in_order() {
        assert!(CODES.is_sorted_by(|one, next| one < next));
        assert!(CODES.iter().all(|code| code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_uppercase())));
    }

    #[test]
    fn what_is_no_currency_in_use_is_not_found() {
        for text in ["", "E", "EURO", "US$", "€", "DEM", "ANG", "BGN", "HRK", "SLL", "ZWL", "978", "eu "] {
            assert_eq!(code(text), None, "{text}");
        }
    }

    #[test]
    fn the_latest_ones_are_there() {
        for text in ["SLE", "VED", "XAD", "XCG", "ZWG"] {
            assert_eq!(code(text), Some(text));
        }
    }
}
